use serde::{Deserialize, Serialize};

/// What the client has told so far.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    pub destination: Option<String>,
    pub days: Option<u32>,
    /// EUR in all.
    pub budget: Option<u32>,
}

impl Wishes {
    /// Picks out of free text what is said plainly: "to PLACE", "N days", "N EUR".
    pub fn read(text: &str) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number_before = |units: &[&str]| {
            words
                .windows(2)
                .find(|pair| units.contains(&bare(pair[1]).to_lowercase().as_str()))
                .and_then(|pair| bare(pair[0]).parse().ok())
        };
        // A place begins with a capital, which tells "to Lisbon" from "to go".
        let is_name = |word: &str| word.chars().next().is_some_and(char::is_uppercase);
        let destination = words
            .windows(2)
            .find(|pair| pair[0].eq_ignore_ascii_case("to") && is_name(pair[1]))
            .map(|pair| bare(pair[1]).to_owned());
        Wishes {
            destination,
            days: number_before(&["day", "days"]),
            budget: number_before(&["eur", "euro", "euros", "€"]),
        }
    }
}

pub fn read_destination(text: &str) -> Option<String> {
    let place = text.trim().trim_end_matches(['.', '!']);
    let place = place.strip_prefix("to ").unwrap_or(place);
    (!place.is_empty()).then(|| place.to_owned())
}

/// The first whole number in a text.
pub fn read_number(text: &str) -> Option<u32> {
    text.split_whitespace()
        .find_map(|word| bare(word).parse().ok())
}

fn bare(word: &str) -> &str {
    word.trim_matches(|letter: char| !letter.is_alphanumeric() && letter != '€')
}

/// Amounts are in EUR.
#[derive(Debug, Serialize)]
pub struct Plan {
    destination: String,
    budget: u32,
    per_day: u32,
    days: Vec<Day>,
}

#[derive(Debug, Serialize)]
struct Day {
    day: u32,
    what: &'static str,
    lodging: u32,
    food: u32,
    activities: u32,
}

const BETWEEN: [&str; 5] = [
    "The old town on foot, a museum in the afternoon",
    "A market in the morning, a viewpoint at sunset",
    "A day trip into the country",
    "A slow day: parks, cafés, one good dinner",
    "What the locals recommended",
];

impl Plan {
    /// Half of each day's money for a bed, three tenths for food, the rest to enjoy.
    pub fn make(destination: String, days: u32, budget: u32) -> Self {
        let per_day = budget / days;
        let (lodging, food) = (per_day / 2, per_day * 3 / 10);
        let what = |day: u32| match day {
            1 => "Arrive, settle in, walk around the neighbourhood",
            _ if day == days => "Last errands, travel home",
            _ => BETWEEN[day as usize % BETWEEN.len()],
        };
        Plan {
            destination,
            budget,
            per_day,
            days: (1..=days)
                .map(|day| Day {
                    day,
                    what: what(day),
                    lodging,
                    food,
                    activities: per_day - lodging - food,
                })
                .collect(),
        }
    }

    pub fn summary(&self) -> String {
        let days = self.days.len();
        format!(
            "{days} days in {} at {} EUR a day.",
            self.destination, self.per_day
        )
    }
}
