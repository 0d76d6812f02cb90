//! What may stand between the groups of a number.

/// One of these, or two spaces, and no more, joins two groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separator {
    /// Spaces and hyphens of all widths.
    Space,
    Dot,
    Slash,
    Line,
}

impl Separator {
    pub(crate) fn of(letter: char) -> Option<Self> {
        match letter {
            ' ' | '\t' | '-' | '\u{a0}' | '\u{2007}' | '\u{2009}' | '\u{202f}' => Some(Self::Space),
            '\u{2010}'..='\u{2015}' => Some(Self::Space),
            '.' => Some(Self::Dot),
            '/' => Some(Self::Slash),
            '\n' => Some(Self::Line),
            _ => None,
        }
    }
}

/// What has been seen since the last letter of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    None,
    One(Separator),
    /// Two spaces, as in what was copied from a table.
    Two,
    /// The first half of a line's end.
    Return,
    /// What joins nothing.
    Wide,
}

impl Gap {
    pub(crate) fn and(self, letter: char) -> Self {
        match (self, Separator::of(letter)) {
            (Self::None, Some(separator)) => Self::One(separator),
            (Self::None, None) if letter == '\r' => Self::Return,
            (Self::One(Separator::Space), _) if matches!(letter, ' ' | '\t' | '\u{a0}') => {
                Self::Two
            }
            (Self::Return, Some(Separator::Line)) => Self::One(Separator::Line),
            _ => Self::Wide,
        }
    }

    pub(crate) fn separator(self) -> Option<Separator> {
        match self {
            Self::One(separator) => Some(separator),
            Self::Two => Some(Separator::Space),
            _ => None,
        }
    }
}
