//! Holds an instance to its limits of memory and tables.

use wasmtime::ResourceLimiter;

/// How much of both an instance may have, and has.
#[derive(Debug)]
pub struct Limiter {
    max_memory: usize,
    max_table_elements: usize,
    /// Bytes of all its memories.
    memory: usize,
}

impl Limiter {
    /// Bytes of all memories together, elements of each table.
    pub fn new(max_memory: usize, max_table_elements: usize) -> Self {
        Self {
            max_memory,
            max_table_elements,
            memory: 0,
        }
    }

    /// Bytes of all memories of the instance.
    pub fn granted(&self) -> usize {
        self.memory
    }
}

/// Whether that is within what the module itself says.
fn is_declared(desired: usize, maximum: Option<usize>) -> bool {
    maximum.is_none_or(|maximum| desired <= maximum)
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let all = self.memory.saturating_add(desired.saturating_sub(current));
        let granted = all <= self.max_memory && is_declared(desired, maximum);
        if granted {
            self.memory = all;
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.max_table_elements && is_declared(desired, maximum))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn all_memories_share_what_an_instance_may_have() {
        let mut limiter = Limiter::new(100, 10);
        for (current, desired, granted) in [
            (0, 60, true),
            (0, 41, false),
            (0, 40, true),
            (60, 61, false),
            (40, 40, true),
            (0, usize::MAX, false),
        ] {
            let found = limiter.memory_growing(current, desired, None).unwrap();
            assert_eq!(found, granted, "{current} to {desired}");
        }
        assert_eq!(limiter.granted(), 100);
        let mut limiter = Limiter::new(100, 10);
        // A module that says less has less, and what it does not get is not counted.
        assert!(!limiter.memory_growing(0, 60, Some(50)).unwrap());
        assert!(!limiter.table_growing(0, 5, Some(4)).unwrap());
        assert_eq!(limiter.granted(), 0);
        assert!(limiter.table_growing(0, 10, None).unwrap());
        assert!(!limiter.table_growing(0, 11, None).unwrap());
    }
}
