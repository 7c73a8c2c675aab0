//! The `lipsyncd` binary: parses its arguments, configures, serves, exits.

fn main() {}
