use dormouse_loadtest::metrics::Starts;

const BEFORE: &str = r#"
# HELP dormouse_starts_total Starts by temperature.
# TYPE dormouse_starts_total counter
dormouse_starts_total{agent="echo",temperature="hot"} 10
dormouse_starts_total{agent="a \"quoted\", {braced} \\ name",temperature="warm"} 3 1700000000000
dormouse_starts_total_created{agent="echo",temperature="hot"} 999
dormouse_start_seconds_count{temperature="hot"} 999
"#;

const AFTER: &str = r#"
dormouse_starts_total{temperature="hot",agent="echo"} 110
dormouse_starts_total{agent="other",temperature="hot"} 5e1
dormouse_starts_total{agent="a \"quoted\", {braced} \\ name",temperature="warm",} 3
dormouse_starts_total{agent="echo",temperature="cold"} 1
"#;

#[test]
fn growth_is_summed_over_agents_by_temperature() {
    let before = Starts::parse(BEFORE).unwrap();
    let grown = Starts::parse(AFTER).unwrap().since(&before);
    let counts: Vec<(&str, u64)> = grown
        .counts()
        .iter()
        .map(|(t, n)| (t.as_str(), *n))
        .collect();
    assert_eq!(counts, [("cold", 1), ("hot", 150)]);
}

#[test]
fn uncounted_calls_and_foreign_starts_lower_the_share() {
    let starts = Starts::parse("dormouse_starts_total{temperature=\"hot\"} 90\n").unwrap();
    assert_eq!(starts.share("hot", 90), 1.0);
    assert_eq!(
        starts.share("hot", 100),
        0.9,
        "ten calls were not counted at all"
    );
    assert_eq!(starts.share("warm", 90), 0.0);
    let mixed = "dormouse_starts_total{temperature=\"hot\"} 90\ndormouse_starts_total{temperature=\"cold\"} 30\n";
    assert_eq!(Starts::parse(mixed).unwrap().share("hot", 100), 0.75);
    assert_eq!(Starts::parse("").unwrap().share("hot", 0), 0.0);
}

#[test]
fn a_line_that_is_not_understood_is_an_error_and_not_a_zero() {
    for broken in [
        "dormouse_starts_total{temperature=\"hot\"} many",
        "dormouse_starts_total{temperature=\"hot\"",
        "dormouse_starts_total{temperature=\"hot} 3",
        "dormouse_starts_total{agent=\"echo\"} 3",
    ] {
        assert!(Starts::parse(broken).is_err(), "{broken}");
    }
}
