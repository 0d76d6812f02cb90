//! Phrases, and a search for all of them that looks at each word of a text once.

use std::collections::BTreeMap;

/// Other words that may stand between two of a phrase.
const BETWEEN: u32 = 3;
/// In all phrases. So often at most a word of a text is compared.
const MAX_SAME: usize = 50;

/// Words that must follow each other.
pub(crate) struct Phrases {
    /// Where each word stands in phrases.
    places: BTreeMap<String, Vec<Place>>,
    /// Bytes. What is longer is in no phrase.
    longest_word: usize,
    phrases: usize,
    words: usize,
}

struct Place {
    phrase: usize,
    /// Among the words of all phrases.
    word: usize,
    is_first: bool,
    is_last: bool,
}

impl Phrases {
    /// # Errors
    /// If one has no word, or they share one so often that texts of it would take too long.
    pub(crate) fn new<'a>(phrases: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut all = Self {
            places: BTreeMap::new(),
            longest_word: 0,
            phrases: 0,
            words: 0,
        };
        for (phrase, text) in phrases.enumerate() {
            let mut words = Vec::new();
            each_word(text, &mut String::new(), usize::MAX, |word| {
                words.push(word.to_owned());
            });
            if words.is_empty() {
                return Err(format!(
                    "{text:?} has no word in it, so it would be found nowhere"
                ));
            }
            let (first, count) = (all.words, words.len());
            all.phrases += 1;
            all.words += count;
            for (at, word) in words.into_iter().enumerate() {
                all.longest_word = all.longest_word.max(word.len());
                let places = all.places.entry(word).or_default();
                places.push(Place {
                    phrase,
                    word: first + at,
                    is_first: at == 0,
                    is_last: at + 1 == count,
                });
            }
        }
        for (word, places) in &mut all.places {
            if places.len() > MAX_SAME {
                return Err(format!(
                    "{word:?} is in the phrases more than {MAX_SAME} times"
                ));
            }
            // A word that is in a phrase twice is one of the two at a time.
            places.reverse();
        }
        Ok(all)
    }

    pub(crate) fn scan(&self) -> Scan<'_> {
        Scan {
            phrases: self,
            word: String::with_capacity(self.longest_word + 8),
            count: 0,
            reached: vec![0; self.words],
            found: vec![false; self.phrases],
        }
    }
}

/// The words of texts, one text after another.
pub(crate) struct Scan<'a> {
    phrases: &'a Phrases,
    word: String,
    /// Words so far.
    count: u32,
    /// For each word of a phrase, which word of the text has last completed the phrase up to here; from 1. The last
    /// is as good as any before it, because the others may follow it latest.
    reached: Vec<u32>,
    found: Vec<bool>,
}

impl Scan<'_> {
    pub(crate) fn text(&mut self, text: &str) {
        let Self {
            phrases,
            word,
            count,
            reached,
            found,
        } = self;
        each_word(text, word, phrases.longest_word, |word| {
            *count += 1;
            for place in phrases.places.get(word).into_iter().flatten() {
                let before = if place.is_first {
                    *count
                } else {
                    reached[place.word - 1]
                };
                if before > 0 && *count - before <= BETWEEN + 1 {
                    reached[place.word] = *count;
                    found[place.phrase] |= place.is_last;
                }
            }
        });
    }

    /// Which of the phrases, in their order.
    pub(crate) fn found(&self) -> impl Iterator<Item = usize> {
        let found = self.found.iter().enumerate();
        found.filter(|(_, found)| **found).map(|(phrase, _)| phrase)
    }
}

/// The words of a text in lower case. Of a word with more bytes than `longest` only so much is kept as shows that.
fn each_word(text: &str, word: &mut String, longest: usize, mut each: impl FnMut(&str)) {
    word.clear();
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() {
            if word.len() <= longest {
                word.push(letter.to_ascii_lowercase());
            }
        } else if !letter.is_ascii() && is_unseen(letter) {
            // No letter, and no end of a word.
        } else if !letter.is_ascii() && letter.is_alphanumeric() {
            if word.len() <= longest {
                word.extend(letter.to_lowercase());
            }
        } else if !word.is_empty() {
            each(word);
            word.clear();
        }
    }
    if !word.is_empty() {
        each(word);
    }
}

/// What a reader does not see, or sees as part of the letter before: code points that Unicode says may be ignored
/// (`Default_Ignorable_Code_Point`, tags and variation selectors among them), and marks that combine.
fn is_unseen(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{300}'..='\u{36f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(phrases: &[&str], text: &str) -> Vec<usize> {
        let phrases = Phrases::new(phrases.iter().copied()).unwrap();
        let mut scan = phrases.scan();
        scan.text(text);
        scan.found().collect()
    }

    #[test]
    fn three_words_may_be_between_and_four_may_not() {
        let phrases = ["a b c", "b", "a a", "zzz", "Straße"];
        for (text, expected) in [
            ("a b c", &[0, 1][..]),
            ("a x x x b x x x c", &[0, 1]),
            ("a x x x x b c", &[1]),
            ("a b x x x x c", &[1]),
            // The later of two is what the others are near to.
            ("a b x x b x x x c", &[0, 1]),
            ("a x x x a b c", &[0, 1, 2]),
            ("c b a", &[1]),
            ("a", &[]),
            ("a a", &[2]),
            ("ab c; a bc", &[]),
            ("STRASSE stra\u{df}e straßen", &[4]),
        ] {
            assert_eq!(found(&phrases, text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_seen_is_neither_a_letter_nor_an_end() {
        for unseen in [
            '\u{ad}',
            '\u{301}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{202e}',
            '\u{2060}',
            '\u{2061}',
            '\u{2063}',
            '\u{2064}',
            '\u{3164}',
            '\u{fe00}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e007f}',
            '\u{e0100}',
        ] {
            let text = format!("{unseen}ig{unseen}nore{unseen} {unseen} th{unseen}{unseen}at");
            assert_eq!(found(&["ignore that"], &text), [0], "{unseen:?}");
        }
        // What is seen ends a word, or is another letter.
        for seen in ['.', '_', '\u{2010}', '\u{fffd}', '\u{451}', '\u{4e00}', '1'] {
            assert_eq!(
                found(&["ignore"], &format!("ig{seen}nore")),
                [0; 0],
                "{seen:?}"
            );
        }
    }

    #[test]
    fn one_word_in_many_phrases_is_refused() {
        let phrases = |count| Phrases::new(std::iter::repeat_n("please stop", count));
        assert!(phrases(MAX_SAME).is_ok());
        assert!(phrases(MAX_SAME + 1).err().unwrap().contains("please"));
    }
}
