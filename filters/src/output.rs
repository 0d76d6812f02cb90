//! An agent's stdout and stderr: its lines become records of the log.

use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use thiserror::Error;
use tokio::io::AsyncWrite;
use tracing::{info, warn};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// Bytes that an agent may write at once; also where a line without an end is cut.
const WINDOW: usize = 16 << 10;

/// What an agent is stopped with that writes more than it may.
#[derive(Debug, Error)]
#[error("more bytes were written to stdout and stderr than one call may")]
pub(crate) struct Flood;

/// The bytes that the running call may still write.
#[derive(Debug, Default, Clone)]
pub(crate) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    pub(crate) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn spend(&self, bytes: usize) -> Result<(), Flood> {
        let left = self.0.load(Ordering::Relaxed);
        self.set(left.checked_sub(bytes).ok_or(Flood)?);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

#[derive(Clone)]
pub(crate) struct Output {
    pub(crate) agent: Arc<str>,
    pub(crate) stream: Stream,
    pub(crate) allowance: Allowance,
}

impl Output {
    fn lines(&self) -> Lines {
        Lines {
            output: self.clone(),
            line: Vec::new(),
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.lines())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.lines())
    }
}

struct Lines {
    output: Output,
    line: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        self.output.allowance.spend(bytes.len())?;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") || self.line.len() >= WINDOW {
                self.end_line();
            }
        }
        Ok(())
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        let (filter, line) = (&*self.output.agent, line.trim_end());
        match self.output.stream {
            Stream::Stdout => info!(filter, "{line}"),
            Stream::Stderr => warn!(filter, "{line}"),
        }
        self.line.clear();
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes)
            .map_err(|flood| StreamError::Trap(flood.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WINDOW)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Lines {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = self.take(bytes).map_err(io::Error::other);
        Poll::Ready(taken.map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
