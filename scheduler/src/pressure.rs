//! What to give up when resident memory is over its budget. Pure.

/// What is given up at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relief {
    /// Parked instances, the least recently used first.
    pub instances: usize,
    /// All loaded code that no instance uses.
    pub code: bool,
}

/// Nothing below the budget. Above it an eighth of what is parked, and more the further above: all of it from a
/// quarter over the budget on. Code goes when nothing else is left: it is mapped from files, which the kernel
/// can take back by itself.
pub fn relief(resident: u64, budget: u64, parked: usize) -> Relief {
    let Some(over) = resident.checked_sub(budget).filter(|over| *over > 0) else {
        return Relief::default();
    };
    let share = parked as u128 * u128::from(over) * 4 / u128::from(budget.max(1));
    let share = usize::try_from(share).unwrap_or(usize::MAX);
    let instances = share.max(parked.div_ceil(8)).min(parked);
    Relief {
        instances,
        code: instances == parked,
    }
}
