//! The integration tests: one binary, because linking the engine again and again is slow.

mod administration;
mod commands;
mod http;
mod memory;
mod memory_server;
mod networks;
mod operation;
mod origins;
mod packages;
mod quantised;
mod render;
mod stream;
mod support;
mod tidy;
mod v1;
mod websocket;
mod wrong_dress;
