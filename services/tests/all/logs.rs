//! What agents log: with whose it is, and no more than a call may.

use dormouse_services::logs::{CallLog, Level, LogFlood, LogLimits};
use serde_json::Value;
use std::io;
use std::sync::{Arc, Mutex};
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The records that a call leaves in the server's log.
fn logged(limits: LogLimits, call: impl FnOnce(&mut CallLog)) -> Vec<Value> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _default = subscriber.set_default();
    let mut log = CallLog::new("calc".into(), 3, "task-1".into(), limits, Arc::default());
    call(&mut log);
    drop(log);
    let bytes = lines.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_record_says_whose_it_is() {
    let levels = [
        (Level::Trace, "TRACE"),
        (Level::Debug, "DEBUG"),
        (Level::Info, "INFO"),
        (Level::Warn, "WARN"),
        (Level::Error, "ERROR"),
    ];
    for (level, word) in levels {
        let fields = [("order".to_owned(), "17".to_owned())];
        let records = logged(LogLimits::default(), |log| {
            log.write(level, "tea {is} ready\n", &fields).unwrap();
        });
        let [record] = &*records else {
            panic!("{records:?}");
        };
        assert_eq!(
            (&record["level"], &record["target"]),
            (&word.into(), &"agent".into())
        );
        let said = &record["fields"];
        assert_eq!(said["message"], "tea {is} ready\n");
        assert_eq!(
            (&said["agent"], &said["version"]),
            (&"calc".into(), &3.into())
        );
        assert_eq!(said["task"], "task-1");
        let fields = said["fields"].as_str().unwrap();
        assert!(
            fields.contains("order") && fields.contains("17"),
            "{fields}"
        );
    }
}

#[test]
fn records_over_the_limit_are_counted_and_dropped() {
    let field = [("k".to_owned(), "v".repeat(7))];
    let cases = [
        (
            LogLimits {
                records: 3,
                bytes: 1_000,
            },
            3,
        ),
        // Ten bytes a record: two of text, eight of the field.
        (
            LogLimits {
                records: 100,
                bytes: 45,
            },
            4,
        ),
        (
            LogLimits {
                records: 100,
                bytes: 50,
            },
            5,
        ),
    ];
    for (limits, kept) in cases {
        let records = logged(limits.clone(), |log| {
            for number in 10..20 {
                log.write(Level::Info, &number.to_string(), &field).unwrap();
            }
        });
        assert_eq!(records.len(), kept + 1, "{limits:?}");
        for (record, number) in records[..kept].iter().zip(10..) {
            assert_eq!(record["fields"]["message"], number.to_string());
        }
        let last = &records[kept];
        assert_eq!(last["level"], "WARN");
        assert_eq!(last["fields"]["dropped"], 10 - kept);
        assert_eq!(last["fields"]["task"], "task-1");
    }
}

#[test]
fn a_call_within_its_limits_says_nothing_of_them() {
    let records = logged(
        LogLimits {
            records: 2,
            bytes: 2,
        },
        |log| {
            log.write(Level::Info, "a", &[]).unwrap();
            log.write(Level::Info, "b", &[]).unwrap();
        },
    );
    assert_eq!(records.len(), 2);
}

#[test]
fn a_call_that_floods_is_told_to_end() {
    let limits = [
        LogLimits {
            records: 10,
            bytes: 1_000_000,
        },
        // A record has two bytes.
        LogLimits {
            records: 1_000_000,
            bytes: 20,
        },
    ];
    for limits in limits {
        let records = logged(limits, |log| {
            let floods = (0..200).position(|_| log.write(Level::Info, "hi", &[]).is_err());
            let floods = floods.expect("twenty times the limit is a flood");
            assert!(floods >= 100, "ten times the limit is none: {floods}");
            assert_eq!(log.write(Level::Info, "hi", &[]), Err(LogFlood));
        });
        assert_eq!(records.len(), 11, "what fits, and the count of the rest");
    }
}
