//! Generates the stubs with protox, a protobuf compiler in Rust, so that protoc need not be installed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let api = "../../proto";
    let protos = ["cofactor/v1/catalog.proto", "cofactor/v1/recommender.proto"];
    let descriptors = protox::compile(protos, [api])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed={api}/cofactor/v1");
    Ok(())
}
