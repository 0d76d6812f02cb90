use dormouse_loadtest::metrics::{Counters, Starts, share};

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

fn starts(text: &str) -> Starts {
    Counters::parse(text).unwrap().starts
}

#[test]
fn growth_is_summed_over_agents_by_temperature() {
    let grown = starts(AFTER).since(&starts(BEFORE));
    let counts: Vec<(&str, u64)> = grown
        .counts()
        .iter()
        .map(|(t, n)| (t.as_str(), *n))
        .collect();
    assert_eq!(counts, [("cold", 1), ("hot", 150)]);
}

#[test]
fn uncounted_calls_and_foreign_starts_lower_the_share() {
    let share = |text, temperature, calls| share(starts(text).counts(), temperature, calls);
    let hot = "dormouse_starts_total{temperature=\"hot\"} 90\n";
    assert_eq!(share(hot, "hot", 90), 1.0);
    assert_eq!(
        share(hot, "hot", 100),
        0.9,
        "ten calls were not counted at all"
    );
    assert_eq!(share(hot, "warm", 90), 0.0);
    let mixed = "dormouse_starts_total{temperature=\"hot\"} 90\ndormouse_starts_total{temperature=\"cold\"} 30\n";
    assert_eq!(share(mixed, "hot", 100), 0.75);
    assert_eq!(share("", "hot", 0), 0.0);
}

#[test]
fn instances_are_counted_over_states_and_reasons() {
    let text = "dormouse_instances{state=\"parked\"} 7\n\
                dormouse_instances{state=\"busy\"} 2\n\
                dormouse_evictions_total{reason=\"idle\"} 30\n\
                dormouse_evictions_total{reason=\"capacity\"} 4\n\
                dormouse_starts_total{temperature=\"hot\"} 9\n\
                dormouse_starts_total{temperature=\"stored\"} 43\n";
    let counters = Counters::parse(text).unwrap();
    assert_eq!(
        (counters.live, counters.busy, counters.evictions),
        (9, 2, 34)
    );
    assert_eq!(
        (counters.starts.total(), counters.starts.of_instances()),
        (52, 43)
    );
}

#[test]
fn a_line_that_is_not_understood_is_an_error_and_not_a_zero() {
    for broken in [
        "dormouse_starts_total{temperature=\"hot\"} many",
        "dormouse_starts_total{temperature=\"hot\"",
        "dormouse_starts_total{temperature=\"hot} 3",
        "dormouse_starts_total{agent=\"echo\"} 3",
    ] {
        assert!(Counters::parse(broken).is_err(), "{broken}");
    }
}
