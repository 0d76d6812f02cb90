//! A gRPC client that sends bytes, and what the definition of A2A says about them.

use crate::support::Server;
use bytes::{Buf, BufMut, Bytes};
use hyper::http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage};
use serde_json::Value;
use std::sync::LazyLock;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(&include_bytes!(concat!(env!("OUT_DIR"), "/a2a.binpb"))[..]).unwrap()
});

#[derive(Clone)]
pub(crate) struct Client(Grpc<Channel>);

/// Of one call; everything that a test may want to be different.
pub(crate) struct Asked<'a> {
    pub(crate) path: &'a str,
    pub(crate) version: &'static str,
    pub(crate) timeout: Option<Duration>,
    pub(crate) token: Option<&'a str>,
    pub(crate) message: Vec<u8>,
}

impl Client {
    pub(crate) async fn new(server: &Server) -> Self {
        let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap();
        Self(Grpc::new(channel.connect().await.unwrap()))
    }

    /// One answer, as JSON; `params` is the request as JSON.
    pub(crate) async fn call(&self, method: &str, params: &Value) -> Result<Value, Status> {
        self.ask(asked(method, params))
            .await
            .map(|answer| answer_json(method, &answer))
    }

    pub(crate) async fn ask(&self, asked: Asked<'_>) -> Result<Bytes, Status> {
        let (path, request) = asked.request();
        let mut grpc = self.0.clone();
        grpc.ready().await.unwrap();
        let answer = grpc.unary(request, path, BytesCodec).await?;
        Ok(answer.into_inner())
    }

    pub(crate) async fn stream(&self, asked: Asked<'_>) -> Result<Events, Status> {
        let output = method_of(asked.path.rsplit('/').next().unwrap()).output();
        let (path, request) = asked.request();
        let mut grpc = self.0.clone();
        grpc.ready().await.unwrap();
        let answer = grpc.server_streaming(request, path, BytesCodec).await?;
        Ok(Events(answer.into_inner(), output))
    }
}

pub(crate) struct Events(Streaming<Bytes>, MessageDescriptor);

impl Events {
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Status> {
        let event = self.0.message().await?;
        Ok(event.map(|bytes| json(&self.1, &bytes)))
    }
}

impl Asked<'_> {
    fn request(self) -> (PathAndQuery, Request<Bytes>) {
        let mut request = Request::new(Bytes::from(self.message));
        if !self.version.is_empty() {
            let version = self.version.parse().unwrap();
            request.metadata_mut().insert("a2a-version", version);
        }
        if let Some(token) = self.token {
            let token = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", token);
        }
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        (self.path.parse().unwrap(), request)
    }
}

pub(crate) fn asked<'a>(method: &str, params: &Value) -> Asked<'a> {
    Asked {
        path: format!("/lf.a2a.v1.A2AService/{method}").leak(),
        version: "1.0",
        timeout: None,
        token: None,
        message: protobuf(method, params).unwrap(),
    }
}

/// The answer of a method as JSON, by the rules of ProtoJSON.
pub(crate) fn answer_json(method: &str, answer: &[u8]) -> Value {
    json(&method_of(method).output(), answer)
}

fn method_of(name: &str) -> prost_reflect::MethodDescriptor {
    let service = POOL.get_service_by_name("lf.a2a.v1.A2AService").unwrap();
    service
        .methods()
        .find(|method| method.name() == name)
        .unwrap()
}

/// A request's JSON as protobuf, by the rules of ProtoJSON; an error if the JSON is not this request.
pub(crate) fn protobuf(method: &str, params: &Value) -> Result<Vec<u8>, serde_json::Error> {
    let message = DynamicMessage::deserialize(method_of(method).input(), params.clone())?;
    Ok(message.encode_to_vec())
}

fn json(descriptor: &MessageDescriptor, bytes: &[u8]) -> Value {
    let message = DynamicMessage::decode(descriptor.clone(), bytes).unwrap();
    assert_eq!(message.descriptor(), *descriptor);
    serde_json::to_value(message).unwrap()
}

/// `ErrorInfo.reason`.
pub(crate) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!(info.domain, "a2a-protocol.org");
    info.reason.clone()
}

/// Messages that stay what they are.
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
