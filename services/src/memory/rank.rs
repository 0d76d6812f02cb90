//! Which entries fit a question best: BM25 over words, the cosine over vectors.

use serde_json::Value;
use std::collections::HashMap;

/// How quickly more of the same word stops to matter, and how much long texts are held back: the values that
/// Robertson and Zaragoza recommend (The Probabilistic Relevance Framework, 2009, §3.4).
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// The words of a text: runs of letters and digits, in lower case.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// The words of all texts and numbers in a value. Names of members are not among them.
pub(crate) fn words_of(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.extend(words(text)),
        Value::Number(number) => into.extend(words(&number.to_string())),
        Value::Array(values) => values.iter().for_each(|value| words_of(value, into)),
        Value::Object(members) => members.values().for_each(|value| words_of(value, into)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The BM25 score of each document; 0 where no word of the question occurs.
pub fn bm25(question: &str, documents: &[Vec<String>]) -> Vec<f32> {
    let mut asked: Vec<String> = words(question).collect();
    asked.sort_unstable();
    asked.dedup();
    let total: usize = documents.iter().map(Vec::len).sum();
    let average = (total as f32 / documents.len().max(1) as f32).max(1.0);
    let counts: Vec<HashMap<&str, f32>> = documents
        .iter()
        .map(|words| {
            let mut counts = HashMap::new();
            for word in words {
                *counts.entry(word.as_str()).or_default() += 1.0;
            }
            counts
        })
        .collect();
    let mut scores = vec![0.0; documents.len()];
    for word in &asked {
        let having = counts.iter().filter(|c| c.contains_key(word.as_str()));
        let having = having.count() as f32;
        let rarity = (1.0 + (documents.len() as f32 - having + 0.5) / (having + 0.5)).ln();
        for (index, counts) in counts.iter().enumerate() {
            let Some(count) = counts.get(word.as_str()) else {
                continue;
            };
            let length = documents[index].len() as f32 / average;
            scores[index] += rarity * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
        }
    }
    scores
}

/// The cosine of the angle between two vectors; none if they are not as long or one is zero.
pub(crate) fn cosine(left: &[f32], right: &[f32]) -> Option<f32> {
    if left.len() != right.len() {
        return None;
    }
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    let lengths = (dot(left, left) * dot(right, right)).sqrt();
    (lengths > 0.0).then(|| (dot(left, right) / lengths) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(texts: &[&str]) -> Vec<Vec<String>> {
        texts.iter().map(|text| words(text).collect()).collect()
    }

    #[test]
    fn rare_words_count_more_than_frequent_ones_and_short_texts_more_than_long_ones() {
        let documents = documents(&[
            "the cat sat on the mat",
            "the dog sat on the log",
            "the cat and the dog and the bird and the fish and the horse",
            "",
        ]);
        let scores = bm25("CAT, the!", &documents);
        assert!(scores[0] > scores[2] && scores[2] > scores[1], "{scores:?}");
        assert!(scores[1] > 0.0 && scores[3] == 0.0, "{scores:?}");
        assert_eq!(bm25("…", &documents), [0.0; 4]);
        assert!(bm25("cat", &[]).is_empty());
    }

    #[test]
    fn words_come_from_the_values_not_from_the_names() {
        let mut found = Vec::new();
        let value =
            serde_json::json!({"name": "Ada L.", "born": 1815, "tags": ["Math", null, true]});
        words_of(&value, &mut found);
        found.sort_unstable();
        assert_eq!(found, ["1815", "ada", "l", "math"]);
    }

    #[test]
    fn only_vectors_of_one_length_are_near_each_other() {
        assert_eq!(cosine(&[1.0, 0.0], &[2.0, 0.0]), Some(1.0));
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 3.0]), Some(0.0));
        assert_eq!(cosine(&[1.0], &[1.0, 0.0]), None);
        assert_eq!(cosine(&[0.0], &[1.0]), None);
    }
}
