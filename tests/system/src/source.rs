//! Reads the repository's Rust source well enough for the tests that guard its shape: comments and
//! literals are masked, functions and test code are found by their braces. Not a parser: it relies
//! on rustfmt having laid the code out.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Files that belong to the repository, as paths relative to its root.
pub fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&root(), Path::new(""), &mut found);
    found.sort();
    assert!(found.len() > 50, "the repository was not found");
    found
}

/// Rust files written by hand.
pub fn rust_files() -> Vec<SourceFile> {
    files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ext| ext == "rs"))
        .filter(|path| !path.starts_with("proto/src/gen"))
        .map(SourceFile::read)
        .collect()
}

fn walk(root: &Path, relative: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(relative)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let path = relative.join(&name);
        let kind = entry.file_type().unwrap();
        let name = name.to_string_lossy();
        let foreign = matches!(
            name.as_ref(),
            "target" | ".git" | ".venv" | "node_modules" | "__pycache__" | ".sterna"
        );
        if foreign {
            continue;
        }
        if kind.is_dir() {
            walk(root, &path, found);
        } else if kind.is_file() {
            found.push(path);
        }
    }
}

/// One Rust file.
#[derive(Debug)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
    /// The text with comments, strings and character literals blanked out, line for line.
    pub masked: String,
    /// Lines (from 0) inside `#[cfg(test)]` items; all of them in a file of tests.
    test_lines: Vec<bool>,
}

/// A function with the line (from 1) of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

impl SourceFile {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        Self::new(path, text)
    }

    pub fn new(path: PathBuf, text: String) -> Self {
        let masked = mask(&text);
        let test_lines = if is_test_file(&path) {
            vec![true; masked.lines().count()]
        } else {
            test_lines(&masked)
        };
        Self { path, text, masked, test_lines }
    }

    /// Whether line `line` (from 1) is test code.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.get(line - 1).copied().unwrap_or(false)
    }

    /// Lines of code that ships, with their numbers from 1, comments and literals blanked out.
    pub fn shipped_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.masked
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
            .filter(|(line, _)| !self.is_test_line(*line))
    }

    /// The parts of the text that are test code.
    pub fn test_text(&self) -> String {
        self.pick_lines(true)
    }

    /// The parts of the text that ship.
    pub fn shipped_text(&self) -> String {
        self.pick_lines(false)
    }

    fn pick_lines(&self, tests: bool) -> String {
        let lines = self.text.lines().enumerate();
        lines
            .filter(|(at, _)| self.is_test_line(at + 1) == tests)
            .flat_map(|(_, line)| [line, "\n"])
            .collect()
    }

    /// Every function with a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (at, _) in self.masked.match_indices("fn ") {
            let before = self.masked[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let name = leading_identifier(&self.masked[at + 3..]);
            let Some(body) = body_after(&self.masked, at) else { continue };
            if name.is_empty() {
                continue;
            }
            let first = line_of(&self.masked, at);
            let last = line_of(&self.masked, body.1);
            found.push(Function { name, line: first, lines: last - first + 1 });
        }
        found
    }

    /// Names that this file defines, with their lines from 1: functions, types, fields, variants
    /// that are written on a line of their own, modules, constants.
    pub fn defined_names(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (at, line) in self.masked.lines().enumerate() {
            if let Some(name) = defined_name(line) {
                found.push((at + 1, name));
            }
        }
        found
    }
}

/// Splits an identifier into its lower-case words: `OutboxLimits` and `outbox_limits` alike.
pub fn words(identifier: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut previous = '_';
    for c in identifier.chars() {
        let starts = previous == '_' || (c.is_uppercase() && !previous.is_uppercase());
        if c != '_' {
            if starts {
                found.push(String::new());
            }
            if let Some(word) = found.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        previous = c;
    }
    found
}

/// Test code as a whole: integration tests, the packages of tests, modules called `tests`.
fn is_test_file(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.starts_with("tests/system/")
        || text.starts_with("tests/faults/")
        || text.contains("/tests/")
        || text.contains("/conformance/")
        || path.file_stem().is_some_and(|stem| {
            let stem = stem.to_string_lossy();
            stem == "tests" || stem == "testing" || stem.ends_with("_tests")
        })
}

fn defined_name(line: &str) -> Option<String> {
    let mut rest = line.trim_start();
    for prefix in ["pub(crate) ", "pub(super) ", "pub "] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    for prefix in ["const fn ", "async fn ", "unsafe fn ", "const ", "static "] {
        if let Some(after) = rest.strip_prefix(prefix) {
            return non_empty(leading_identifier(after));
        }
    }
    for prefix in ["fn ", "struct ", "enum ", "trait ", "mod ", "type ", "union "] {
        if let Some(after) = rest.strip_prefix(prefix) {
            return non_empty(leading_identifier(after));
        }
    }
    // A field: a name, a colon, a type, a comma. Struct literals look alike; their names are
    // somebody's fields too, so what is ours is found where it is declared.
    let is_declaration = line.trim_start().starts_with("pub") || line.trim_end().ends_with(',');
    let name = leading_identifier(rest);
    let after = rest[name.len()..].strip_prefix(": ")?;
    let is_type = after.starts_with(|c: char| c.is_uppercase() || c == '&' || c == '(' || c == '[')
        || ["u8", "u16", "u32", "u64", "usize", "i32", "i64", "bool", "f64"]
            .iter()
            .any(|word| after.trim_end_matches(',') == *word);
    let is_value = after.contains("::") && after.contains('(');
    (is_declaration && is_type && !is_value).then_some(()).and_then(|()| non_empty(name))
}

fn non_empty(name: String) -> Option<String> {
    (!name.is_empty()).then_some(name)
}

fn leading_identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The braces of the item that starts at `at`; `None` when a semicolon ends it first.
fn body_after(masked: &str, at: usize) -> Option<(usize, usize)> {
    let mut parens = 0i32;
    for (offset, c) in masked[at..].char_indices() {
        match c {
            '(' | '[' => parens += 1,
            ')' | ']' => parens -= 1,
            ';' if parens == 0 => return None,
            '{' if parens == 0 => {
                let open = at + offset;
                return closing_brace(masked, open).map(|close| (open, close));
            }
            _ => {}
        }
    }
    None
}

fn closing_brace(masked: &str, open: usize) -> Option<usize> {
    let mut depth = 0;
    for (offset, c) in masked[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(open + offset);
                }
            }
            _ => {}
        }
    }
    None
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn test_lines(masked: &str) -> Vec<bool> {
    let mut lines = vec![false; masked.lines().count()];
    for (at, _) in masked.match_indices("#[cfg(test)]") {
        let Some((_, close)) = body_after(masked, at + "#[cfg(test)]".len()) else { continue };
        let (first, last) = (line_of(masked, at), line_of(masked, close));
        lines[first - 1..last].fill(true);
    }
    lines
}

/// Blanks comments, strings and character literals, keeping every line where it is.
fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip_literal(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// The end of the comment or literal that starts at `at`; `at` itself when none does.
fn skip_literal(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    match rest {
        ['/', '/', ..] => until(chars, at, |c| c == '\n'),
        ['/', '*', ..] => block_comment_end(chars, at),
        ['r', '"', ..] | ['r', '#', '"' | '#', ..] if !follows_identifier(chars, at) => {
            raw_string_end(chars, at + 1)
        }
        ['"', ..] => string_end(chars, at),
        ['\'', '\\', ..] => until(chars, at + 3, |c| c == '\'') + 1,
        ['\'', _, '\'', ..] => at + 3,
        _ => at,
    }
}

fn follows_identifier(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() && chars[at - 1] != 'b' || chars[at - 1] == '_')
}

fn until(chars: &[char], at: usize, stop: impl Fn(char) -> bool) -> usize {
    (at..chars.len()).find(|at| stop(chars[*at])).unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut at = at;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// `at`: the first `#` or the quote.
fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        // A raw identifier such as r#type.
        return at - 1;
    }
    let closing = |from: usize| {
        chars[from] == '"'
            && chars[from + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let start = at + hashes + 1;
    (start..chars.len()).find(|from| closing(*from)).map_or(chars.len(), |from| from + 1 + hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> SourceFile {
        SourceFile::new("core/src/x.rs".into(), text.to_owned())
    }

    #[test]
    fn comments_and_literals_are_masked_line_for_line() {
        let file = source(
            "let a = \"fn x() {\"; // fn y\nlet b = r#\"{\"#; /* { */ let c = '{';\nlet d = '\\'';\nfn z<'a>(v: &'a str) {}\n",
        );
        assert_eq!(file.masked.lines().count(), file.text.lines().count());
        assert!(!file.masked.contains("fn x") && !file.masked.contains("fn y"));
        let functions = file.functions();
        assert_eq!(functions, [Function { name: "z".into(), line: 4, lines: 1 }]);
    }

    #[test]
    fn function_lengths_include_their_signature() {
        let file = source("fn a() {\n    if x {\n    }\n}\n\ntrait T {\n    fn b(&self);\n}\n");
        assert_eq!(file.functions(), [Function { name: "a".into(), line: 1, lines: 4 }]);
    }

    #[test]
    fn test_code_is_told_from_what_ships() {
        let file = source("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n");
        let shipped: String = file.shipped_text();
        assert!(shipped.contains("fn a") && shipped.contains("fn c") && !shipped.contains("fn b"));
        assert!(file.test_text().contains("fn b"));
    }

    #[test]
    fn names_and_words_are_found() {
        let file = source(
            "pub struct TopicMap {\n    pub room_count: usize,\n    inner: Arc<Inner>,\n}\nconst MAX_ROOMS: usize = 1;\nlet x = Foo {\n    port: Duration::from_secs(1),\n};\n",
        );
        let names: Vec<String> = file.defined_names().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["TopicMap", "room_count", "inner", "MAX_ROOMS"]);
        assert_eq!(words("TopicMap"), ["topic", "map"]);
        assert_eq!(words("MAX_ROOM"), ["max", "room"]);
        assert_eq!(words("QUIC"), ["quic"]);
    }
}
