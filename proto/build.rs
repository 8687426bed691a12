//! Generates the Rust code of the .proto files without an installed protoc.

use std::{env, error::Error, fs, path::Path};

use protox::Compiler;

const FILES: [&str; 8] = [
    "jumpstarter/v1/common.proto",
    "jumpstarter/v1/kubernetes.proto",
    "jumpstarter/v1/jumpstarter.proto",
    "jumpstarter/v1/router.proto",
    "jumpstarter/v1/telemetry.proto",
    "jumpstarter/client/v1/client.proto",
    "rigd/control/v1/control.proto",
    "rigd/control/v1/controller.proto",
];

/// Messages with secrets: `control::secret` says what is shown of them.
const SECRET: [&str; 2] = [
    ".rigd.control.v1.Credentials",
    ".rigd.control.v1.ExportResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let mut compiler = Compiler::new(["."])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)?;

    tonic_prost_build::configure()
        // Payloads are then slices of the receive buffer instead of copies.
        .bytes(".")
        // Labels come out in the same order every time.
        .btree_map(".")
        .skip_debug(SECRET)
        .compile_fds(compiler.file_descriptor_set())?;

    // The set ends up in the binary, where comments are of no use.
    compiler.include_source_info(false);
    let out_dir = env::var("OUT_DIR")?;
    fs::write(
        Path::new(&out_dir).join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    Ok(())
}
