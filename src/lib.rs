//! A real-time lip-sync server for edge boxes: speech goes in, a talking face comes out.
//!
//! ARCHITECTURE.md draws the rooms of this crate and the way data flows through them.

// What is unsafe is in the kernels of SIMD instructions, behind checks of every slice, and nowhere else.
#![deny(unsafe_code)]
// They panic where a pipe has been closed: see src/cli/print.rs.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod audio;
pub mod base;
pub mod cli;
pub mod config;
pub mod engine;
pub mod frame;
#[allow(unsafe_code)]
mod kernels;
pub mod model;
pub mod observe;
pub mod protocol;
pub mod recording;
pub mod render;
pub mod server;
pub mod session;
pub mod stream;
pub mod transport;
