use std::rc::Rc;

use crate::host::CallHost;
use crate::{AgentError, Artifact, Content};

/// Tells the clients of a task how it goes, while it goes. Every subscriber sees the same events
/// in the same order.
///
/// ```
/// # use dormouse_sdk::prelude::*;
/// # use dormouse_sdk::testing::Conversation;
/// # #[skill(id = "log", name = "Log", description = "Writes a log.")]
/// # struct Log;
/// # impl SkillHandler for Log {
/// #     async fn on_request(&self, _: &mut State, progress: &ProgressSender, _: &Runtime, _: Content)
/// #         -> Result<OnRequestResult, AgentError> {
/// progress.send_update("Writing").await?;
/// for (line, last) in [("one\n", false), ("two\n", true)] {
///     let chunk = Artifact::from_text("log.txt", line).with_id("log");
///     progress.send_artifact_chunk(chunk, line != "one\n", last).await?;
/// }
/// # Ok(OnRequestResult::completed("done")) } }
/// # let answer = Conversation::new(Log).send("go");
/// # assert_eq!(answer.updates(), ["Writing"]);
/// # assert_eq!(answer.artifacts()[0].text(), "one\ntwo\n");
/// ```
pub struct ProgressSender {
    pub(crate) host: Rc<dyn CallHost>,
}

impl ProgressSender {
    /// A status update: the task is working, and this is what it says. Fails with
    /// [`AgentError::Ended`] once the call has ended.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// progress.send_update("Reading the table").await?;
    /// progress.send_update(format!("{} of 3 columns", 1)).await?;
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").updates(), ["Reading the table", "1 of 3 columns"]);
    /// ```
    pub async fn send_update(&self, content: impl Into<Content>) -> Result<(), AgentError> {
        self.host.update(content.into()).await
    }

    /// A whole artifact, before the task is done.
    ///
    /// ```
    /// # use dormouse_sdk::{Artifact, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// progress.send_partial_artifact(Artifact::from_text("draft.md", "# Oslo")).await?;
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").artifacts()[0].text(), "# Oslo");
    /// ```
    pub async fn send_partial_artifact(&self, artifact: Artifact) -> Result<(), AgentError> {
        self.host.artifact(artifact, false, true).await
    }

    /// A chunk of an artifact, which must have an id: `append` adds to the artifact of that id
    /// instead of replacing it, `last` says that no more chunks follow.
    ///
    /// ```
    /// # use dormouse_sdk::{Artifact, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let (add, is_last) = (true, true);
    /// let chunk = |text: &str| Artifact::from_text("report.md", text).with_id("report");
    /// progress.send_artifact_chunk(chunk("# Oslo\n"), !add, !is_last).await?;
    /// progress.send_artifact_chunk(chunk("It rains.\n"), add, is_last).await?;
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").artifacts()[0].text(), "# Oslo\nIt rains.\n");
    /// ```
    pub async fn send_artifact_chunk(
        &self,
        artifact: Artifact,
        append: bool,
        last: bool,
    ) -> Result<(), AgentError> {
        self.host.artifact(artifact, append, last).await
    }
}
