//! Fuzz target of the configuration: any text of a file, any variable and any override is taken or
//! complained about, with a line that is there.

use sterna_fuzz::{Script, check};

use super::*;

/// Two texts, for a variable and an override, then the file.
#[test]
fn fuzz_config() {
    check!("config", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let variable = script.bytes(60);
        let pair = script.bytes(60);
        let (Ok(variable), Ok(pair), Ok(text)) = (
            std::str::from_utf8(variable),
            std::str::from_utf8(pair),
            std::str::from_utf8(script.rest()),
        ) else {
            return;
        };
        let mut raw = RawConfig::default();
        let path = Path::new("sterna.toml");
        raw.take_file(path, text);
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        raw.take_environment([(name.to_owned(), value.to_owned())].into_iter());
        raw.take_override(pair);
        for value in raw.values.values() {
            check_origin(&value.0, text);
            if let RawValue::Text(text) = &value.1 {
                drop(crate::args::parse_duration(text));
            }
        }
        for complaint in raw.finish().err().into_iter().flatten() {
            check_origin(&complaint.origin, text);
            assert!(!complaint.text.is_empty());
            assert!(!complaint.to_string().contains('\n'), "{complaint:?} is one line");
        }
    });
}

fn check_origin(origin: &Origin, text: &str) {
    if let Origin::File { line, .. } = origin {
        assert!((1..=text.split('\n').count()).contains(line), "{origin:?} is not in the file");
    }
}
