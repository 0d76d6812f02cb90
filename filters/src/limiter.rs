//! Holds an instance to its limits of memory and tables.

use wasmtime::{ResourceLimiter, StoreLimits, StoreLimitsBuilder};

pub(crate) struct Limiter {
    limits: StoreLimits,
    max_memory: usize,
    /// Bytes of all its memories.
    memory: usize,
}

impl Limiter {
    pub(crate) fn new(max_memory: usize, max_table_elements: usize) -> Self {
        Self {
            limits: StoreLimitsBuilder::new()
                .memory_size(max_memory)
                .table_elements(max_table_elements)
                .build(),
            max_memory,
            memory: 0,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The limit is that of each memory to wasmtime, and of all together to us.
        let all = self.memory.saturating_add(desired.saturating_sub(current));
        let granted =
            all <= self.max_memory && self.limits.memory_growing(current, desired, maximum)?;
        if granted {
            self.memory = all;
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.limits.table_growing(current, desired, maximum)
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
        assert!(limiter.table_growing(0, 10, None).unwrap());
        assert!(!limiter.table_growing(0, 11, None).unwrap());
    }
}
