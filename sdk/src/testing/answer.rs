use crate::native::{self, Effect};
use crate::{Artifact, Content, Level, Outcome};

/// What a call did and how it ended.
///
/// ```
/// use dormouse_sdk::{OnRequestResult, Outcome, testing::Conversation};
///
/// let mut talk = Conversation::with_function(async |_, progress, _, _| {
///     progress.send_update("Looking").await?;
///     Ok(OnRequestResult::Failed { error: "Nothing there".into() })
/// });
/// let answer = talk.send("Where is it?");
/// assert_eq!(answer.events.len(), 1);
/// assert!(matches!(&answer.outcome, Outcome::Failed(_)));
/// assert_eq!(answer.text(), "Nothing there");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What it did, in order.
    pub events: Vec<Event>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Answer {
    /// The message that the call ended with.
    ///
    /// ```
    /// # use dormouse_sdk::{Content, OnRequestResult, testing::Conversation};
    /// let mut talk = Conversation::with_function(async |_, _, _, _| {
    ///     let message = Some(Content::from_json(&[3, 4])?);
    ///     Ok(OnRequestResult::Completed { message, artifacts: Vec::new() })
    /// });
    /// let answer = talk.send("The totals?");
    /// let totals: Option<Vec<u32>> = answer.message().and_then(|said| said.data().ok()?);
    /// assert_eq!(totals, Some(vec![3, 4]));
    /// ```
    pub fn message(&self) -> Option<&Content> {
        match &self.outcome {
            Outcome::Completed { message, .. } => message.as_ref(),
            Outcome::InputRequired { message, .. } | Outcome::AuthRequired { message, .. } => {
                Some(message)
            }
            Outcome::Message(message) | Outcome::Rejected(message) | Outcome::Failed(message) => {
                Some(message)
            }
        }
    }

    /// The text of that message; empty without one.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// let mut talk = Conversation::with_function(async |_, _, _, _| Ok(OnRequestResult::completed("Hello")));
    /// assert_eq!(talk.send("").text(), "Hello");
    /// ```
    pub fn text(&self) -> String {
        self.message().map(Content::text).unwrap_or_default()
    }

    /// The texts of the progress updates, in order.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// let mut talk = Conversation::with_function(async |_, progress, _, content| {
    ///     for line in content.text().lines() {
    ///         progress.send_update(format!("Read {line}")).await?;
    ///     }
    ///     Ok(OnRequestResult::completed("Done"))
    /// });
    /// assert_eq!(talk.send("one\ntwo").updates(), ["Read one", "Read two"]);
    /// ```
    pub fn updates(&self) -> Vec<String> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Update(content) => Some(content.text()),
                _ => None,
            })
            .collect()
    }

    /// The artifacts as a client holds them in the end: chunks put together, in order of first
    /// appearance, then those of the outcome.
    ///
    /// ```
    /// # use dormouse_sdk::{Artifact, OnRequestResult, testing::Conversation};
    /// let mut talk = Conversation::with_function(async |_, progress, _, _| {
    ///     let chunk = |text: &str| Artifact::from_text("log.txt", text).with_id("log");
    ///     progress.send_artifact_chunk(chunk("one, "), false, false).await?;
    ///     progress.send_artifact_chunk(chunk("two"), true, true).await?;
    ///     Ok(OnRequestResult::Completed { message: None, artifacts: vec![Artifact::from_text("b.txt", "")] })
    /// });
    /// let artifacts = talk.send("").artifacts();
    /// assert_eq!(artifacts.len(), 2);
    /// assert_eq!(artifacts[0].text(), "one, two");
    /// ```
    pub fn artifacts(&self) -> Vec<Artifact> {
        let mut artifacts = Vec::new();
        for event in &self.events {
            if let Event::Artifact {
                artifact, append, ..
            } = event
            {
                native::merge_artifact(&mut artifacts, artifact.clone(), *append);
            }
        }
        if let Outcome::Completed {
            artifacts: last, ..
        } = &self.outcome
        {
            artifacts.extend(last.iter().cloned());
        }
        artifacts
    }
}

/// Something that a call did before it ended.
///
/// ```
/// use dormouse_sdk::{Level, OnRequestResult, testing::{Conversation, Event}};
///
/// let mut talk = Conversation::with_function(async |_, _, runtime, _| {
///     runtime.log(Level::Info, "asked", &[("by", &runtime.context().principal)]);
///     Ok(OnRequestResult::completed("Done"))
/// });
/// for event in talk.send("").events {
///     match event {
///         Event::Log { message, fields, .. } => {
///             assert_eq!((&*message, &*fields[0].1), ("asked", "anonymous"));
///         }
///         Event::Update(_) | Event::Artifact { .. } => unreachable!("it only writes a log"),
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It sent a progress update.
    Update(Content),
    /// It sent an artifact or a chunk of one.
    Artifact {
        /// The artifact or chunk.
        artifact: Artifact,
        /// Whether it adds to the artifact of that id.
        append: bool,
        /// Whether no more chunks follow.
        last: bool,
    },
    /// It wrote a log record.
    Log {
        /// How much it matters.
        level: Level,
        /// What it says.
        message: String,
        /// Names and values.
        fields: Vec<(String, String)>,
    },
}

impl From<Effect> for Event {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Update(content) => Event::Update(content),
            Effect::Artifact {
                artifact,
                append,
                last,
            } => Event::Artifact {
                artifact,
                append,
                last,
            },
            Effect::Log {
                level,
                message,
                fields,
            } => Event::Log {
                level,
                message,
                fields,
            },
        }
    }
}
