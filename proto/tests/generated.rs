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
    for name in ["sterna.v1.rs", "sterna.v1.serde.rs", "sterna.link.v1.rs"] {
        let want = std::fs::read_to_string(fresh.path().join(name)).expect("generated file");
        let want = with_numbers_for_unknown_values(&want);
        let path: PathBuf = committed.join(name);
        if std::env::var_os("STERNA_REGENERATE").is_some() {
            std::fs::write(&path, &want).expect("write generated file");
        }
        let have = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            have == want,
            "{} is not what the .proto files generate; run\n  STERNA_REGENERATE=1 cargo test -p sterna-proto --test generated",
            path.display()
        );
    }
}

fn generate(root: &Path, out: &Path) {
    let files = ["sterna/v1/client.proto", "sterna/link/v1/link.proto"];
    let descriptors = protox::compile(files, [root]).expect("valid .proto");
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

/// pbjson fails on a number that has no name in its enum. Canonical protobuf JSON writes the number
/// (a newer node may have stored it), and a node must not fail because of what a peer has said.
fn with_numbers_for_unknown_values(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut lines = code.lines().peekable();
    while let Some(line) = lines.next() {
        let conversion = line.trim_start().strip_prefix("let v = ");
        let fails = lines.peek().is_some_and(|next| next.contains("\"Invalid variant {}\""));
        let (Some(conversion), true) = (conversion, fails) else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let field = conversion.split_once("try_from(").expect("a conversion").1;
        let field = field.strip_suffix(')').expect("of one field");
        let serialize = lines.nth(1).expect("the field's line").trim();
        let serialize = serialize.strip_suffix("&v)?;").expect("as pbjson writes it");
        out.push_str(&format!(
            "            match {conversion} {{\n                Ok(v) => {serialize}&v)?,\n                \
             Err(_) => {serialize}&{field})?,\n            }}\n"
        ));
    }
    out
}
