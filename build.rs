//! Generates the protobuf types, and warns where JPEG encoding will be slow.

use std::process::{Command, Stdio};

fn main() {
    generate_protobuf();
    look_for_nasm();
}

/// protox compiles the .proto file, so no protoc is needed.
fn generate_protobuf() {
    const PROTO: &str = "proto/lipsyncsrv.proto";
    println!("cargo::rerun-if-changed={PROTO}");
    println!("cargo::rerun-if-changed=build.rs");
    // The page is embedded; a new file in it must reach the binary.
    println!("cargo::rerun-if-changed=static");

    let descriptors = protox::compile([PROTO], ["proto"])
        .unwrap_or_else(|error| panic!("{PROTO} does not compile: {error}"));
    prost_build::Config::new()
        .bytes(["."]) // decoding borrows image and audio from the message
        .compile_fds(descriptors)
        .unwrap_or_else(|error| panic!("cannot write the types of {PROTO}: {error}"));
}

/// mozjpeg leaves its SIMD out where nasm is missing, and cargo hides the warning of a dependency.
fn look_for_nasm() {
    println!("cargo::rerun-if-env-changed=PATH");
    let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let needs_nasm = matches!(architecture.as_str(), "x86" | "x86_64");
    let has_nasm = || {
        let mut command = Command::new("nasm");
        command
            .arg("-v")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let simd = !needs_nasm || has_nasm();
    if !simd {
        println!(
            "cargo::warning=nasm was not found: JPEG encoding is built without SIMD and is about 6 times slower. \
             Install nasm (apt install nasm), run `cargo clean -p mozjpeg-sys`, and build again."
        );
    }
    println!("cargo::rustc-env=LIPSYNCD_JPEG_SIMD={}", u8::from(simd));
}
