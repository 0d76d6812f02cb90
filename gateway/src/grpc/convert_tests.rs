#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};
use std::time::Duration;

/// What the definition itself says this message is in JSON.
fn protojson(name: &str, message: &impl prost::Message) -> Value {
    let pool = include_bytes!(concat!(env!("OUT_DIR"), "/a2a.binpb"));
    let pool = DescriptorPool::decode(&pool[..]).unwrap();
    let descriptor = pool.get_message_by_name(name).unwrap();
    let message = DynamicMessage::decode(descriptor, &*message.encode_to_vec()).unwrap();
    doubles(serde_json::to_value(message).unwrap())
}

/// Protobuf has one kind of number.
fn doubles(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => values.into_iter().map(doubles).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, member)| (name, doubles(member)))
            .collect(),
        value => value,
    }
}

/// Names and texts that are there; what is empty is absent.
fn text() -> impl Strategy<Value = String> {
    "\\PC{1,6}"
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
        any::<f64>().prop_filter_map("a JSON number", |number| {
            number.is_finite().then(|| json!(number))
        }),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("\\PC{0,3}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn metadata() -> impl Strategy<Value = Option<Metadata>> {
    of(proptest::collection::hash_map(text(), value(), 1..3))
}

fn part() -> impl Strategy<Value = Part> {
    let content = prop_oneof![
        "\\PC{0,6}".prop_map(PartContent::Text),
        vec(any::<u8>(), 0..6).prop_map(PartContent::Raw),
        text().prop_map(PartContent::Url),
        value().prop_map(PartContent::Data),
    ];
    (content, of(text()), of(text()), metadata()).prop_map(
        |(content, filename, media_type, metadata)| Part {
            content,
            filename,
            media_type,
            metadata,
        },
    )
}

fn messages() -> impl Strategy<Value = Message> {
    let role = prop_oneof![Just(Role::User), Just(Role::Agent)];
    (
        (text(), of(text()), of(text()), role),
        (vec(part(), 1..3), metadata()),
        (of(vec(text(), 1..3)), of(vec(text(), 1..3))),
    )
        .prop_map(|(names, (parts, metadata), (extensions, references))| {
            let (message_id, context_id, task_id, role) = names;
            Message {
                message_id,
                context_id,
                task_id,
                role,
                parts,
                metadata,
                extensions,
                reference_task_ids: references,
            }
        })
}

fn artifacts() -> impl Strategy<Value = Artifact> {
    let names = (text(), of(text()), of(text()));
    let content = (vec(part(), 1..3), metadata(), of(vec(text(), 1..3)));
    (names, content).prop_map(|((artifact_id, name, description), content)| {
        let (parts, metadata, extensions) = content;
        Artifact {
            artifact_id,
            name,
            description,
            parts,
            metadata,
            extensions,
        }
    })
}

fn statuses() -> impl Strategy<Value = TaskStatus> {
    // Until the year 9999, in the milliseconds that the task engine writes.
    let time = of(0..253_402_300_799_999_u64);
    (1..=8_i32, of(messages()), time).prop_map(|(number, message, ms)| TaskStatus {
        state: state(number).unwrap(),
        message,
        timestamp: ms.map(|ms| (SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).into()),
    })
}

fn events() -> impl Strategy<Value = StreamResponse> {
    let lists = (of(vec(artifacts(), 1..3)), of(vec(messages(), 1..3)));
    let task = (text(), text(), statuses(), lists, metadata()).prop_map(
        |(id, context_id, status, (artifacts, history), metadata)| {
            StreamResponse::Task(Task {
                id,
                context_id,
                status,
                artifacts,
                history,
                metadata,
            })
        },
    );
    let status = (text(), text(), statuses(), metadata()).prop_map(
        |(task_id, context_id, status, metadata)| {
            StreamResponse::StatusUpdate(TaskStatusUpdateEvent {
                task_id,
                context_id,
                status,
                metadata,
            })
        },
    );
    let flags = (of(Just(true)), of(Just(true)));
    let artifact = (text(), text(), artifacts(), flags, metadata()).prop_map(
        |(task_id, context_id, artifact, (append, last_chunk), metadata)| {
            StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
                task_id,
                context_id,
                artifact,
                append,
                last_chunk,
                metadata,
            })
        },
    );
    prop_oneof![
        task,
        status,
        artifact,
        messages().prop_map(StreamResponse::Message)
    ]
}

proptest! {
    /// As the definition has it, an event is the same in JSON and in protobuf.
    #[test]
    fn an_event_is_what_it_is_in_json(given in events()) {
        let json = doubles(serde_json::to_value(&given).unwrap());
        prop_assert_eq!(protojson("lf.a2a.v1.StreamResponse", &event(given)), json);
    }

    #[test]
    fn a_message_comes_back_as_it_was(given in messages()) {
        let wire = said(given.clone()).encode_to_vec();
        let back = message(pb::Message::decode(&*wire).unwrap()).unwrap();
        let json = |message: Message| doubles(serde_json::to_value(message).unwrap());
        prop_assert_eq!(json(back), json(given));
    }
}

#[test]
fn what_would_not_fit_into_memory_is_refused() {
    let request = |objects: usize| pb::SendMessageRequest {
        message: Some(pb::Message {
            message_id: "1".into(),
            role: pb::Role::User.into(),
            parts: vec![pb::Part {
                content: Some(pb::part::Content::Data(value::protobuf(json!(vec![
                    json!({"a": 0});
                    objects
                ])))),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    assert!(super::super::requests::send(request(50_000)).is_ok());
    let refused = super::super::requests::send(request(100_000));
    assert!(refused.is_err_and(|error| error.sentence.contains("64 MiB")));
}

#[test]
fn every_state_and_role_has_its_number() {
    for number in 0..=8 {
        let status = status(TaskStatus {
            state: state(number).unwrap(),
            message: None,
            timestamp: None,
        });
        assert_eq!(status.state, number);
    }
    assert!(state(9).is_err() && state(-1).is_err());
}
