//! The committed code under `src/gen` is what the `.proto` files say.
//! `STERNA_REGENERATE=1 cargo test -p sterna-proto --test generated` writes it anew.

use std::path::{Path, PathBuf};

use prost::Message as _;

#[test]
fn generated_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/gen");
    let fresh = tempfile::tempdir().expect("a temporary directory");
    generate(root, fresh.path());
    for name in ["sterna.v1.rs", "sterna.v1.serde.rs"] {
        let want = std::fs::read_to_string(fresh.path().join(name)).expect("generated file");
        let path: PathBuf = committed.join(name);
        if std::env::var_os("STERNA_REGENERATE").is_some() {
            std::fs::write(&path, &want).expect("write generated file");
        }
        let have = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            have == want,
            "{} is not what client.proto generates; run\n  STERNA_REGENERATE=1 cargo test -p sterna-proto --test generated",
            path.display()
        );
    }
}

fn generate(root: &Path, out: &Path) {
    let descriptors = protox::compile(["sterna/v1/client.proto"], [root]).expect("valid .proto");
    prost_build::Config::new()
        .out_dir(out)
        .bytes(["."])
        .compile_fds(descriptors.clone())
        .expect("prost code");
    pbjson_build::Builder::new()
        .register_descriptors(&descriptors.encode_to_vec())
        .expect("descriptors")
        .out_dir(out)
        .build(&[".sterna.v1"])
        .expect("serde code");
}
