//! Keeps a log from being flooded: one line a minute of each kind, and a count of those that were left out.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two lines of one kind.
const PERIOD: Duration = Duration::from_secs(60);

/// Kinds that are remembered at once. Kinds may come from clients (their origins); beyond this many in a minute no
/// line is let through for a new one.
const MAX_KINDS: usize = 64;

/// Decides which lines are logged. `K` names their kinds.
pub struct LogThrottle<K>(Mutex<HashMap<K, Kind>>);

struct Kind {
    /// When its last line was logged.
    logged: Instant,
    /// Lines that were left out since.
    suppressed: u64,
}

/// Lines of a kind that were left out before one is logged; printed at the end of that line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppressed(pub u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " ({count} more since the last such line)"),
        }
    }
}

impl<K> Default for LogThrottle<K> {
    fn default() -> Self {
        LogThrottle(Mutex::default())
    }
}

impl<K: Eq + Hash> LogThrottle<K> {
    /// Whether a line of this kind is logged at `now`: then how many were left out before it.
    pub fn admit(&self, kind: K, now: Instant) -> Option<Suppressed> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kinds.get_mut(&kind) {
            if now.saturating_duration_since(known.logged) < PERIOD {
                known.suppressed += 1;
                return None;
            }
            known.logged = now;
            return Some(Suppressed(std::mem::take(&mut known.suppressed)));
        }
        if kinds.len() >= MAX_KINDS {
            kinds.retain(|_, kind| now.saturating_duration_since(kind.logged) < PERIOD);
            if kinds.len() >= MAX_KINDS {
                return None;
            }
        }
        let first = Kind {
            logged: now,
            suppressed: 0,
        };
        kinds.insert(kind, first);
        Some(Suppressed(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_of_each_kind_and_the_others_are_counted() {
        let throttle = LogThrottle::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(throttle.admit("a", at(0)), Some(Suppressed(0)));
        assert_eq!(throttle.admit("a", at(1)), None);
        assert_eq!(throttle.admit("b", at(1)), Some(Suppressed(0)));
        assert_eq!(throttle.admit("a", at(59)), None);
        assert_eq!(throttle.admit("a", at(60)), Some(Suppressed(2)));
        assert_eq!(throttle.admit("a", at(121)), Some(Suppressed(0)));
        assert_eq!(
            Suppressed(2).to_string(),
            " (2 more since the last such line)"
        );
    }

    #[test]
    fn kinds_that_clients_make_up_are_bounded() {
        let throttle = LogThrottle::default();
        let start = Instant::now();
        let logged = (0..1000).filter(|kind| throttle.admit(*kind, start).is_some());
        assert_eq!(logged.count(), MAX_KINDS);
        let later = start + PERIOD;
        assert_eq!(throttle.admit(1000, later), Some(Suppressed(0)));
    }
}
