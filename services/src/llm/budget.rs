//! How many tokens agents and principals may still have today.

use crate::desk::{Asker, ServiceError};
use dormouse_store::Record;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Owners that are counted at a time: those who come when there are as many share one account.
const MAX_ACCOUNTS: usize = 100_000;

/// Tokens, read and written, per day (UTC). Without a number there is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budgets {
    /// For each agent, whoever calls it.
    pub agent: Option<u64>,
    /// For each principal, whatever agents it calls.
    pub principal: Option<u64>,
}

/// What was used today. It is kept beside the tasks after every answer, so a restart goes on where it was.
pub(super) struct Ledger {
    budgets: Budgets,
    day: Mutex<Day>,
}

#[derive(Default)]
struct Day {
    number: i64,
    used: HashMap<Account, u64>,
}

/// How it is kept, under [`PREFIX`] and the account.
#[derive(Serialize, Deserialize)]
struct Kept {
    day: i64,
    tokens: u64,
}

/// Keys of the records of accounts begin so.
pub(crate) const PREFIX: &[u8] = b"bu";

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Account {
    Agent(String),
    Principal(String),
    Others,
}

/// Tokens set aside for one request. Given back when it is dropped before it is settled: a request without an answer
/// costs nothing.
pub(super) struct Reserved<'a> {
    ledger: &'a Ledger,
    day: i64,
    accounts: Vec<Account>,
    tokens: u64,
}

impl Ledger {
    pub(super) fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            day: Mutex::default(),
        }
    }

    /// # Errors
    /// Limit if a budget does not have as many tokens left.
    pub(super) fn reserve(&self, asker: &Asker, tokens: u64) -> Result<Reserved<'_>, ServiceError> {
        let mut day = self.today();
        let wanted = [
            (
                "agent",
                self.budgets.agent,
                Account::Agent(asker.agent.clone()),
            ),
            (
                "principal",
                self.budgets.principal,
                Account::Principal(asker.principal.clone()),
            ),
        ];
        let mut accounts = Vec::new();
        for (who, budget, account) in wanted {
            let Some(budget) = budget else { continue };
            let is_known = day.used.contains_key(&account);
            let account = if is_known || day.used.len() < MAX_ACCOUNTS {
                account
            } else {
                Account::Others
            };
            let used = day.used.get(&account).copied().unwrap_or(0);
            if used.saturating_add(tokens) > budget {
                return Err(ServiceError::Limit(format!(
                    "the {who}'s budget of {budget} tokens a day has {} left, and this request may need {tokens}",
                    budget.saturating_sub(used)
                )));
            }
            accounts.push(account);
        }
        for account in &accounts {
            *day.used.entry(account.clone()).or_default() += tokens;
        }
        Ok(Reserved {
            ledger: self,
            day: day.number,
            accounts,
            tokens,
        })
    }

    /// Hands over what the accounts of this asker have used, to be kept. Whoever is called last has the latest.
    pub(super) fn keep(&self, asker: &Asker, keep: impl FnOnce(Vec<Record>)) {
        let day = self.today();
        let accounts = [
            (self.budgets.agent, Account::Agent(asker.agent.clone())),
            (
                self.budgets.principal,
                Account::Principal(asker.principal.clone()),
            ),
            (
                self.budgets.agent.or(self.budgets.principal),
                Account::Others,
            ),
        ];
        let counted = accounts.into_iter().filter(|(budget, _)| budget.is_some());
        let records = counted.filter_map(|(_, account)| {
            let kept = Kept {
                day: day.number,
                tokens: *day.used.get(&account)?,
            };
            let json = serde_json::to_vec(&kept).expect("numbers are JSON");
            Some((account.key(), Some(json)))
        });
        let records: Vec<Record> = records.collect();
        if !records.is_empty() {
            keep(records);
        }
    }

    /// Takes back what was kept; returns what is of no use any more.
    pub(super) fn restore(&self, records: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Record> {
        let mut day = self.today();
        let mut stale = Vec::new();
        for (key, json) in records {
            let kept: Option<Kept> = serde_json::from_slice(&json).ok();
            let kept = kept.filter(|kept| kept.day == day.number);
            match kept.zip(Account::of(&key)) {
                Some((kept, account)) => {
                    day.used.insert(account, kept.tokens);
                }
                None => stale.push((key, None)),
            }
        }
        stale
    }

    fn today(&self) -> MutexGuard<'_, Day> {
        let number = chrono::Utc::now().timestamp().div_euclid(24 * 60 * 60);
        let mut day = self.day.lock().unwrap_or_else(PoisonError::into_inner);
        if day.number != number {
            *day = Day {
                number,
                used: HashMap::new(),
            };
        }
        day
    }
}

impl Account {
    fn key(&self) -> Vec<u8> {
        let (kind, name) = match self {
            Self::Agent(name) => (b'a', name.as_str()),
            Self::Principal(name) => (b'p', name.as_str()),
            Self::Others => (b'o', ""),
        };
        [PREFIX, &[kind], name.as_bytes()].concat()
    }

    fn of(key: &[u8]) -> Option<Self> {
        let (kind, name) = key.strip_prefix(PREFIX)?.split_first()?;
        let name = String::from_utf8(name.to_vec()).ok()?;
        match kind {
            b'a' => Some(Self::Agent(name)),
            b'p' => Some(Self::Principal(name)),
            b'o' => Some(Self::Others),
            _ => None,
        }
    }
}

impl Reserved<'_> {
    /// What it really was.
    pub(super) fn settle(mut self, tokens: u64) {
        self.replace(tokens);
        self.accounts.clear();
    }

    fn replace(&mut self, tokens: u64) {
        if self.accounts.is_empty() {
            return;
        }
        let mut day = self.ledger.today();
        if day.number != self.day {
            return;
        }
        for account in &self.accounts {
            let used = day.used.entry(account.clone()).or_default();
            *used = used.saturating_sub(self.tokens).saturating_add(tokens);
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.replace(0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn asker(agent: &str, principal: &str) -> Asker {
        Asker {
            agent: agent.to_owned(),
            principal: principal.to_owned(),
            context: "c".to_owned(),
        }
    }

    #[test]
    fn what_is_set_aside_is_given_back_or_settled() {
        let ledger = Ledger::new(Budgets {
            agent: Some(100),
            principal: None,
        });
        let ann = asker("a", "ann");
        let first = ledger.reserve(&ann, 60).unwrap();
        assert!(ledger.reserve(&ann, 60).is_err(), "60 are set aside");
        drop(first);
        ledger.reserve(&ann, 60).unwrap().settle(90);
        let told = ledger.reserve(&ann, 11).err().unwrap().to_string();
        assert!(
            told.contains("agent's budget of 100") && told.contains("10 left"),
            "{told}"
        );
        ledger.reserve(&asker("b", "ann"), 100).unwrap().settle(1);
    }

    #[test]
    fn what_was_kept_today_counts_and_what_was_kept_before_is_cleared_away() {
        let budgets = Budgets {
            agent: Some(100),
            principal: Some(100),
        };
        let ledger = Ledger::new(budgets);
        let ann = asker("a", "ann");
        ledger.reserve(&ann, 60).unwrap().settle(70);
        let mut kept = Vec::new();
        ledger.keep(&ann, |records| kept = records);
        let kept = kept.into_iter().map(|(key, value)| (key, value.unwrap()));
        let mut kept: Vec<_> = kept.collect();
        assert_eq!(kept.len(), 2);
        let old = (
            Account::Agent("b".to_owned()).key(),
            br#"{"day":1,"tokens":99}"#.to_vec(),
        );
        kept.push(old.clone());
        let again = Ledger::new(budgets);
        assert_eq!(again.restore(kept), [(old.0, None)]);
        assert!(again.reserve(&ann, 31).is_err());
        assert!(again.reserve(&asker("a", "bob"), 31).is_err());
        assert!(again.reserve(&asker("b", "ann"), 31).is_err());
        again.reserve(&asker("b", "bob"), 100).unwrap().settle(1);
    }

    #[test]
    fn a_principal_has_one_budget_for_all_agents() {
        let ledger = Ledger::new(Budgets {
            agent: Some(1_000),
            principal: Some(50),
        });
        ledger.reserve(&asker("a", "ann"), 50).unwrap().settle(50);
        let told = ledger
            .reserve(&asker("b", "ann"), 1)
            .err()
            .unwrap()
            .to_string();
        assert!(told.contains("principal's budget"), "{told}");
        ledger.reserve(&asker("b", "bob"), 50).unwrap().settle(50);
    }
}
