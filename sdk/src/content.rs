use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{AgentError, Json};

/// What a message says: an ordered list of parts (A2A 1.0 §4.1.4, without the ids, which are the
/// platform's business).
///
/// ```
/// use dormouse_sdk::Content;
///
/// let content = Content::from("two words");
/// assert_eq!(content.first_text(), Some("two words"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Content {
    /// The parts, in order. The platform takes no message without one.
    pub parts: Vec<Part>,
    /// A JSON object with whatever client and agent agreed on.
    pub metadata: Option<Json>,
}

impl Content {
    /// One text part.
    ///
    /// ```
    /// assert_eq!(dormouse_sdk::Content::from_text("hi").text(), "hi");
    /// ```
    pub fn from_text(text: impl Into<String>) -> Self {
        Content::from(Part::text(text))
    }

    /// One data part.
    ///
    /// ```
    /// # fn main() -> Result<(), dormouse_sdk::AgentError> {
    /// let content = dormouse_sdk::Content::from_json(&[1.5, 2.5])?;
    /// assert_eq!(content.data::<Vec<f64>>()?, Some(vec![1.5, 2.5]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_json(value: &(impl Serialize + ?Sized)) -> Result<Self, AgentError> {
        Ok(Content::from(Part::data(Json::new(value)?)))
    }

    /// One file by value.
    ///
    /// ```
    /// let content = dormouse_sdk::Content::from_file("a.csv", "text/csv", b"x\n1\n");
    /// assert_eq!(content.files().count(), 1);
    /// ```
    pub fn from_file(
        filename: impl Into<String>,
        media_type: impl Into<String>,
        bytes: &[u8],
    ) -> Self {
        Content::from(Part::file(filename, media_type, bytes))
    }

    /// The same content with one more part.
    ///
    /// ```
    /// # use dormouse_sdk::{Content, Part};
    /// let content = Content::from_text("see").with_part(Part::url("https://example.org/a.png"));
    /// assert_eq!(content.parts.len(), 2);
    /// ```
    pub fn with_part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// All text parts, joined with line breaks; empty if there is none.
    ///
    /// ```
    /// # use dormouse_sdk::{Content, Part};
    /// let picture = Part::url("https://example.org/a.png");
    /// let content = Content::from_text("one").with_part(picture).with_part(Part::text("two"));
    /// assert_eq!(content.text(), "one\ntwo");
    /// ```
    pub fn text(&self) -> String {
        self.texts().collect::<Vec<_>>().join("\n")
    }

    /// The first text part.
    ///
    /// ```
    /// # use dormouse_sdk::Content;
    /// assert_eq!(Content::from("tulips").first_text(), Some("tulips"));
    /// assert_eq!(Content::from_file("a.csv", "text/csv", b"x").first_text(), None);
    /// ```
    pub fn first_text(&self) -> Option<&str> {
        self.texts().next()
    }

    /// The text parts, in order.
    ///
    /// ```
    /// # use dormouse_sdk::{Content, Part};
    /// let content = Content::from_text("three words here").with_part(Part::text("two words"));
    /// let lengths: Vec<usize> = content.texts().map(|text| text.split(' ').count()).collect();
    /// assert_eq!(lengths, [3, 2]);
    /// ```
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match &part.content {
            PartContent::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The first data part as a value of type `T`; `None` without a data part, an error if it has
    /// another form.
    ///
    /// ```
    /// # use dormouse_sdk::Content;
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Order { tulips: u32 }
    ///
    /// let order: Option<Order> = Content::from_json(&Order { tulips: 12 })?.data()?;
    /// assert_eq!(order.map(|order| order.tulips), Some(12));
    /// assert!(Content::from("12 tulips").data::<Order>()?.is_none());
    /// assert!(Content::from_json("12 tulips")?.data::<Order>().is_err());
    /// # Ok::<(), dormouse_sdk::AgentError>(())
    /// ```
    pub fn data<T: DeserializeOwned>(&self) -> Result<Option<T>, AgentError> {
        self.parts
            .iter()
            .find_map(|part| match &part.content {
                PartContent::Data(json) => Some(json.deserialize()),
                _ => None,
            })
            .transpose()
    }

    /// The files, by value or by reference, in order.
    ///
    /// ```
    /// # use dormouse_sdk::{Content, FileSource};
    /// let content = Content::from_file("a.csv", "text/csv", b"x\n1\n");
    /// let file = content.files().next().expect("there is one");
    /// assert_eq!((file.name, file.media_type), (Some("a.csv"), Some("text/csv")));
    /// assert_eq!(file.source, FileSource::Bytes(b"x\n1\n"));
    /// ```
    pub fn files(&self) -> impl Iterator<Item = File<'_>> {
        self.parts.iter().filter_map(|part| {
            let source = match &part.content {
                PartContent::Raw(bytes) => FileSource::Bytes(bytes),
                PartContent::Url(url) => FileSource::Url(url),
                PartContent::Text(_) | PartContent::Data(_) => return None,
            };
            Some(File {
                name: part.filename.as_deref(),
                media_type: part.media_type.as_deref(),
                source,
            })
        })
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Content::from_text(text)
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Content::from_text(text)
    }
}

impl From<Part> for Content {
    fn from(part: Part) -> Self {
        Content {
            parts: vec![part],
            metadata: None,
        }
    }
}

/// A file in a message.
///
/// ```
/// use dormouse_sdk::{Content, File, FileSource};
///
/// fn size(file: File<'_>) -> Option<usize> {
///     match file.source {
///         FileSource::Bytes(bytes) => Some(bytes.len()),
///         FileSource::Url(_) => None,
///     }
/// }
///
/// let content = Content::from_file("a.csv", "text/csv", b"x\n1\n");
/// assert_eq!(content.files().filter_map(size).sum::<usize>(), 4);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File<'a> {
    /// The file name, if the sender gave one.
    pub name: Option<&'a str>,
    /// The media type, if the sender gave one.
    pub media_type: Option<&'a str>,
    /// Where the bytes are.
    pub source: FileSource<'a>,
}

/// Where the bytes of a [`File`] are.
///
/// ```
/// use dormouse_sdk::{Content, FileSource, Part};
///
/// let content = Content::from(Part::url("https://example.org/a.csv"));
/// let source = content.files().next().map(|file| file.source);
/// assert_eq!(source, Some(FileSource::Url("https://example.org/a.csv")));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSource<'a> {
    /// Here.
    Bytes(&'a [u8]),
    /// Behind this address.
    Url(&'a str),
}

/// One piece of content (A2A 1.0 §4.1.6).
///
/// ```
/// use dormouse_sdk::{Part, PartContent};
///
/// let part = Part::file("logo.png", "image/png", &[0x89]);
/// assert_eq!(part.content, PartContent::Raw(vec![0x89]));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The content itself.
    pub content: PartContent,
    /// A file name.
    pub filename: Option<String>,
    /// A media type, such as `text/csv`.
    pub media_type: Option<String>,
    /// A JSON object.
    pub metadata: Option<Json>,
}

impl Part {
    /// Plain text.
    ///
    /// ```
    /// # use dormouse_sdk::{Part, PartContent};
    /// assert_eq!(Part::text("hi").content, PartContent::Text("hi".to_owned()));
    /// ```
    pub fn text(text: impl Into<String>) -> Self {
        Part::of(PartContent::Text(text.into()))
    }

    /// Structured data.
    ///
    /// ```
    /// # use dormouse_sdk::{Content, Json, Part};
    /// let content = Content::from_text("The totals").with_part(Part::data(Json::new(&[3, 4])?));
    /// assert_eq!(content.data::<Vec<u32>>()?, Some(vec![3, 4]));
    /// # Ok::<(), dormouse_sdk::AgentError>(())
    /// ```
    pub fn data(json: Json) -> Self {
        Part::of(PartContent::Data(json))
    }

    /// A file by value.
    ///
    /// ```
    /// # use dormouse_sdk::Part;
    /// let table = Part::file("totals.csv", "text/csv", b"3,4\n");
    /// assert_eq!(table.media_type.as_deref(), Some("text/csv"));
    /// ```
    pub fn file(filename: impl Into<String>, media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Part {
            filename: Some(filename.into()),
            media_type: Some(media_type.into()),
            ..Part::of(PartContent::Raw(bytes.to_vec()))
        }
    }

    /// A file by reference.
    ///
    /// ```
    /// # use dormouse_sdk::Part;
    /// // The fields say what a link alone does not.
    /// let picture = Part { media_type: Some("image/png".to_owned()), ..Part::url("https://example.org/a") };
    /// assert_eq!(picture.filename, None);
    /// ```
    pub fn url(url: impl Into<String>) -> Self {
        Part::of(PartContent::Url(url.into()))
    }

    fn of(content: PartContent) -> Self {
        Part {
            content,
            filename: None,
            media_type: None,
            metadata: None,
        }
    }
}

/// Exactly one kind of content.
///
/// ```
/// use dormouse_sdk::{Content, PartContent};
///
/// let content = Content::from("hi");
/// let kind = match &content.parts[0].content {
///     PartContent::Text(_) => "text",
///     PartContent::Raw(_) | PartContent::Url(_) => "a file",
///     PartContent::Data(_) => "data",
/// };
/// assert_eq!(kind, "text");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum PartContent {
    /// Text.
    Text(String),
    /// A file by value.
    Raw(Vec<u8>),
    /// A file by reference.
    Url(String),
    /// Structured data.
    Data(Json),
}

/// A result of a task (A2A 1.0 §4.1.7).
///
/// ```
/// # fn main() -> Result<(), dormouse_sdk::AgentError> {
/// use dormouse_sdk::Artifact;
///
/// let table = Artifact::from_json("totals.json", &[3, 4])?.with_description("Sums by year");
/// assert_eq!(table.name.as_deref(), Some("totals.json"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Artifact {
    /// Chunks of one artifact share an id; without one the platform makes it.
    pub id: Option<String>,
    /// A name for people, often a file name.
    pub name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// The content, at least one part.
    pub parts: Vec<Part>,
    /// A JSON object.
    pub metadata: Option<Json>,
}

impl Artifact {
    /// An artifact with one data part.
    ///
    /// ```
    /// let totals = dormouse_sdk::Artifact::from_json("totals.json", &[3, 4])?;
    /// assert_eq!(totals.parts[0].media_type.as_deref(), Some("application/json"));
    /// # Ok::<(), dormouse_sdk::AgentError>(())
    /// ```
    pub fn from_json(
        name: impl Into<String>,
        value: &(impl Serialize + ?Sized),
    ) -> Result<Self, AgentError> {
        let mut part = Part::data(Json::new(value)?);
        part.media_type = Some("application/json".to_owned());
        Ok(Artifact::from_part(name, part))
    }

    /// An artifact with one text part.
    ///
    /// ```
    /// let note = dormouse_sdk::Artifact::from_text("note.md", "# Note");
    /// assert_eq!(note.text(), "# Note");
    /// ```
    pub fn from_text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Artifact::from_part(name, Part::text(text))
    }

    /// An artifact with one file by value. The file has the artifact's name.
    ///
    /// ```
    /// let plot = dormouse_sdk::Artifact::from_file("plot.png", "image/png", &[0x89]);
    /// assert_eq!(plot.parts[0].filename.as_deref(), Some("plot.png"));
    /// ```
    pub fn from_file(name: impl Into<String>, media_type: impl Into<String>, bytes: &[u8]) -> Self {
        let name = name.into();
        Artifact::from_part(name.clone(), Part::file(name, media_type, bytes))
    }

    /// The same artifact with an id of the agent's choice, unique within the task.
    ///
    /// ```
    /// let chunk = dormouse_sdk::Artifact::from_text("log", "line 1\n").with_id("log");
    /// assert_eq!(chunk.id.as_deref(), Some("log"));
    /// ```
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The same artifact with a sentence about it.
    ///
    /// ```
    /// let note = dormouse_sdk::Artifact::from_text("note.md", "# Note").with_description("What was said");
    /// assert_eq!(note.description.as_deref(), Some("What was said"));
    /// ```
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Its text parts, joined without anything between them: chunks are cut anywhere.
    ///
    /// ```
    /// # use dormouse_sdk::{Artifact, Part};
    /// let mut log = Artifact::from_text("log.txt", "line 1\nli");
    /// log.parts.push(Part::text("ne 2\n"));
    /// assert_eq!(log.text(), "line 1\nline 2\n");
    /// ```
    pub fn text(&self) -> String {
        self.parts
            .iter()
            .filter_map(|part| match &part.content {
                PartContent::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    fn from_part(name: impl Into<String>, part: Part) -> Self {
        Artifact {
            name: Some(name.into()),
            parts: vec![part],
            ..Artifact::default()
        }
    }
}
