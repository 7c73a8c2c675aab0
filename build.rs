//! Generates the protobuf types. protox compiles the .proto file, so no protoc is needed.

fn main() {
    const PROTO: &str = "proto/lipsyncsrv.proto";
    println!("cargo::rerun-if-changed={PROTO}");
    println!("cargo::rerun-if-changed=build.rs");

    let descriptors = protox::compile([PROTO], ["proto"])
        .unwrap_or_else(|error| panic!("{PROTO} does not compile: {error}"));
    prost_build::Config::new()
        .bytes(["."]) // decoding borrows image and audio from the message
        .compile_fds(descriptors)
        .unwrap_or_else(|error| panic!("cannot write the types of {PROTO}: {error}"));
}
