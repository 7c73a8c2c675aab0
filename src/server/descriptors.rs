//! As many connections as the process may have descriptors for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::base::limits::Limits;
use crate::transport::MAX_REFUSED;

/// Descriptors of one WebSocket: its socket, and the eventfd that wakes its thread.
const PER_CONNECTION: u64 = 2;

/// Descriptors that the rest of the server may need at once: standard streams, shutdown and acceptor wake-ups, the files
/// of a package that is being loaded, the pipes of a child that checks one, systemd's socket.
const OTHERS: u64 = 20;

/// `--max-connections`, or less where the process may not open enough descriptors for so many. The limit is raised to
/// what the process may raise it to; what still falls short is told in the log.
pub(super) fn connection_cap(limits: &Limits, listeners: usize) -> u64 {
    let wanted = limits.max_connections;
    let listeners = listeners as u64;
    let needed = reserve(listeners) + PER_CONNECTION * wanted;
    let descriptors = raise_limit(needed);
    if descriptors >= needed {
        return wanted;
    }
    let cap = cap_for(descriptors, listeners);
    log::warn!(
        "at most {cap} connections, and not {wanted} (--max-connections): this process may open {descriptors} files, and \
         a connection takes {PER_CONNECTION}; allow {needed} with `ulimit -n`, or LimitNOFILE= in the systemd unit"
    );
    cap
}

/// How many connections fit, one at least.
fn cap_for(descriptors: u64, listeners: u64) -> u64 {
    (descriptors.saturating_sub(reserve(listeners)) / PER_CONNECTION).max(1)
}

fn reserve(listeners: u64) -> u64 {
    OTHERS + listeners + MAX_REFUSED as u64
}

/// Raises the limit on descriptors to `needed`, or as far as the process may. Returns the limit that then holds.
fn raise_limit(needed: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current.unwrap_or(u64::MAX);
    let raised = needed.min(maximum.unwrap_or(u64::MAX));
    if current >= raised {
        return current;
    }
    let limit = Rlimit {
        current: Some(raised),
        maximum,
    };
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => raised,
        Err(_) => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_rest() {
        assert_eq!(cap_for(64, 1), 13);
        assert_eq!(cap_for(1024, 2), 493);
        assert_eq!(cap_for(20, 1), 1);
    }
}
