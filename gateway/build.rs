//! Makes the types of A2A's protobuf definition. No protoc: protox is the compiler.

use prost::Message;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/a2a.proto"], ["proto"])?;
    // For tests, which compare with what the definition says about JSON.
    let folder = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&folder).join("a2a.binpb"), files.encode_to_vec())?;
    prost_build::Config::new()
        // Sorted, so that the same message is always the same bytes.
        .btree_map(["."])
        // Comments in the definition are no Markdown.
        .disable_comments(["."])
        .compile_fds(files)?;
    Ok(())
}
