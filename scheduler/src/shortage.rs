//! Tells apart what the machine has run out of from what is wrong with code.

use std::error::Error;
use std::io;
use wasmtime::PoolConcurrencyLimitError;

/// Whether the engine failed because the machine, or the pool, has no more of something: mappings, addresses,
/// memory, open files, threads, places. The same may work in a moment, and nothing is wrong with the code.
pub(crate) fn is_shortage(error: &wasmtime::Error) -> bool {
    error.is::<PoolConcurrencyLimitError>()
        || error.is::<wasmtime::error::OutOfMemory>()
        || error.chain().any(is_short_of)
}

/// The system's own errors, as the standard library and rustix give them. `EACCES` and `EPERM` are among them
/// because a system that forbids executable mappings forbids those of new code too.
fn is_short_of(cause: &(dyn Error + 'static)) -> bool {
    use rustix::io::Errno;
    let number = if let Some(error) = cause.downcast_ref::<io::Error>() {
        error.raw_os_error()
    } else {
        cause
            .downcast_ref::<Errno>()
            .map(|errno| errno.raw_os_error())
    };
    let short = [
        Errno::NOMEM,
        Errno::MFILE,
        Errno::NFILE,
        Errno::AGAIN,
        Errno::ACCESS,
        Errno::PERM,
    ];
    number.is_some_and(|number| short.iter().any(|errno| errno.raw_os_error() == number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn the_system_is_told_apart_from_the_code() {
        let of = |error: wasmtime::Error| is_shortage(&error.context("failed to map the file"));
        for errno in [Errno::NOMEM, Errno::MFILE, Errno::AGAIN] {
            assert!(of(errno.into()), "{errno}");
            assert!(of(io::Error::from(errno).into()), "{errno}");
        }
        assert!(!of(io::Error::from(Errno::NOENT).into()));
        // What mapping an empty file gives: the file is damaged.
        assert!(!of(Errno::INVAL.into()));
        assert!(!of(wasmtime::Error::msg(
            "Module was compiled with another version"
        )));
    }
}
