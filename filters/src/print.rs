//! What an instance prints, as WASI knows it: a stream that takes all at once, and is never full.

use bytes::Bytes;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// Bytes that may be written at once; also where whoever takes lines cuts one without an end.
pub const WINDOW: usize = 16 << 10;

/// Where it goes.
pub trait Print: Clone + Send + Sync + Unpin + 'static {
    /// What is printed too much with; the instance is stopped for it.
    type Flood: Error + Send + Sync + 'static;

    /// Takes what was printed.
    ///
    /// # Errors
    /// If that is too much.
    fn print(&self, bytes: &[u8]) -> Result<(), Self::Flood>;
}

/// A stream that leads there.
#[derive(Debug, Clone)]
pub struct Printer<T>(pub T);

impl<T: Print> IsTerminal for Printer<T> {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl<T: Print> StdoutStream for Printer<T> {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl<T: Print> OutputStream for Printer<T> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let printed = self.0.print(&bytes);
        printed.map_err(|flood| StreamError::Trap(flood.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WINDOW)
    }
}

#[wasmtime_wasi::async_trait]
impl<T: Print> Pollable for Printer<T> {
    async fn ready(&mut self) {}
}

impl<T: Print> AsyncWrite for Printer<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let printed = self.0.print(bytes).map_err(io::Error::other);
        Poll::Ready(printed.map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
