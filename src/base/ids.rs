//! Numbers that name things while the server runs.

/// Number of a connection, never given twice by one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);
