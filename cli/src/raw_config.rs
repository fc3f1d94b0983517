//! What was configured and where: the file, over it the environment, over it `--set`. Knows which
//! keys there are and of which type, not what their values mean; each value remembers its origin
//! so that every later complaint can name it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::settings::{Kind, SETTINGS, Setting, is_table, nearest};

/// Largest configuration file.
const FILE_BYTES: u64 = 1024 * 1024;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    File {
        path: PathBuf,
        line: usize,
    },
    Environment(String),
    Flag,
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Flag => f.write_str("--set"),
            Self::Default => f.write_str("configuration"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) origin: Origin,
    pub(crate) text: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and values come from files and the environment: what they hold stays on one line and
        // does nothing to a terminal.
        for c in format!("{}: {}", self.origin, self.text).chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RawValue {
    Text(String),
    Bool(bool),
    Integer(u64),
    Texts(Vec<String>),
    Tables(Vec<RawTable>),
}

/// One of several tables of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawTable {
    pub(crate) origin: Origin,
    pub(crate) texts: BTreeMap<String, (Origin, String)>,
}

/// All values that were given, the strongest origin for each.
#[derive(Debug, Default)]
pub(crate) struct RawConfig {
    values: BTreeMap<&'static str, (Origin, RawValue)>,
    complaints: Vec<Complaint>,
}

impl RawConfig {
    /// Reads everything; what is wrong is kept for [`finish`](Self::finish).
    pub(crate) fn gather(
        file: &Path,
        environment: impl Iterator<Item = (String, String)>,
        overrides: &[String],
    ) -> Self {
        let mut raw = Self::default();
        match read_file(file) {
            Ok(text) => raw.take_file(file, &text),
            Err(text) => raw.complain(Origin::File { path: file.to_owned(), line: 1 }, text),
        }
        raw.take_environment(environment);
        overrides.iter().for_each(|pair| raw.take_override(pair));
        raw
    }

    pub(crate) fn get(&self, path: &str) -> Option<&(Origin, RawValue)> {
        debug_assert!(Setting::find(path).is_some(), "{path} is not in the table of keys");
        self.values.get(path)
    }

    /// Where a key comes from.
    pub(crate) fn origin(&self, path: &str) -> Origin {
        self.get(path).map_or(Origin::Default, |(origin, _)| origin.clone())
    }

    pub(crate) fn complain(&mut self, origin: Origin, text: impl Into<String>) {
        self.complaints.push(Complaint { origin, text: text.into() });
    }

    /// All complaints so far, in the order of the file.
    pub(crate) fn finish(self) -> Result<(), Vec<Complaint>> {
        if self.complaints.is_empty() { Ok(()) } else { Err(self.complaints) }
    }

    fn take_file(&mut self, path: &Path, text: &str) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let file = File { path, text };
        for error in errors {
            let origin = file.origin(error.span().map_or(0, |span| span.start));
            self.complain(origin, error.message().replace('\n', ", "));
        }
        self.take_table(&file, "", table.get_ref());
    }

    fn take_table(&mut self, file: &File<'_>, prefix: &str, table: &DeTable<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let path = match prefix {
                "" => name.get_ref().to_string(),
                _ => format!("{prefix}.{}", name.get_ref()),
            };
            let origin = file.origin(name.span().start);
            match (Setting::find(&path), value.get_ref()) {
                (Some(setting), _) => self.take_value(file, setting, origin, value),
                (None, DeValue::Table(inner)) if is_table(&path) => {
                    self.take_table(file, &path, inner);
                }
                (None, _) if is_table(&path) => {
                    self.complain(origin, format!("`{path}` is a table; write [{path}]"));
                }
                (None, _) => self.complain(origin, unknown(&path)),
            }
        }
    }

    fn take_value(
        &mut self,
        file: &File<'_>,
        setting: &'static Setting,
        origin: Origin,
        value: &Spanned<DeValue<'_>>,
    ) {
        let converted = match setting.kind {
            Kind::Tables(keys) => self.take_tables(file, setting.path, keys, value),
            kind => plain(kind, value.get_ref()),
        };
        match converted {
            Some(converted) => {
                self.values.insert(setting.path, (origin, converted));
            }
            None => self.complain(origin, mismatch(setting, value.get_ref().type_str())),
        }
    }

    fn take_tables(
        &mut self,
        file: &File<'_>,
        path: &str,
        keys: &[&'static str],
        value: &Spanned<DeValue<'_>>,
    ) -> Option<RawValue> {
        let mut tables = Vec::new();
        for entry in value.get_ref().as_array()?.iter() {
            let mut texts = BTreeMap::new();
            for (name, value) in entry.get_ref().as_table()? {
                let origin = file.origin(name.span().start);
                let name: &str = name.get_ref();
                match (keys.contains(&name), value.get_ref().as_str()) {
                    (true, Some(text)) => {
                        texts.insert(name.to_owned(), (origin, text.to_owned()));
                    }
                    (true, None) => self.complain(origin, format!("`{path}.{name}` is a text")),
                    (false, _) => {
                        let hint = nearest(name, keys.iter().copied())
                            .map(|near| format!("; did you mean `{path}.{near}`?"));
                        let hint = hint.unwrap_or_default();
                        self.complain(origin, format!("`{path}.{name}` is not a key{hint}"));
                    }
                }
            }
            tables.push(RawTable { origin: file.origin(entry.span().start), texts });
        }
        Some(RawValue::Tables(tables))
    }

    fn take_environment(&mut self, environment: impl Iterator<Item = (String, String)>) {
        let names: Vec<(String, &'static Setting)> = SETTINGS
            .iter()
            .filter_map(|setting| setting.variable().map(|name| (name, setting)))
            .collect();
        let mut given: Vec<(String, String)> =
            environment.filter(|(name, _)| name.starts_with("STERNA_")).collect();
        given.sort();
        for (name, text) in given {
            let origin = Origin::Environment(name.clone());
            match names.iter().find(|(known, _)| *known == name) {
                Some((_, setting)) => self.take_text(setting, origin, &text),
                None if names_a_service(&name) => {}
                None => {
                    let near = nearest(&name, names.iter().map(|(known, _)| known.as_str()));
                    let hint = near.map(|near| format!("; did you mean {near}?"));
                    self.complain(origin, format!("not a key{}", hint.unwrap_or_default()));
                }
            }
        }
    }

    fn take_override(&mut self, pair: &str) {
        let Some((path, text)) = pair.split_once('=') else {
            return self.complain(Origin::Flag, format!("`{pair}` is not KEY=VALUE"));
        };
        match Setting::find(path.trim()) {
            Some(setting) => self.take_text(setting, Origin::Flag, text.trim()),
            None => self.complain(Origin::Flag, unknown(path.trim())),
        }
    }

    /// A value given as text, whatever the key's type.
    fn take_text(&mut self, setting: &'static Setting, origin: Origin, text: &str) {
        let value = match setting.kind {
            Kind::Text | Kind::Duration => Some(RawValue::Text(text.to_owned())),
            Kind::Bool => text.parse().ok().map(RawValue::Bool),
            Kind::Integer => text.parse().ok().map(RawValue::Integer),
            Kind::Texts => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(RawValue::Texts(parts.map(str::to_owned).collect()))
            }
            Kind::Tables(_) => None,
        };
        match value {
            Some(value) => {
                self.values.insert(setting.path, (origin, value));
            }
            None => self.complain(origin, mismatch(setting, "text")),
        }
    }
}

/// The variables of this process; what is not Unicode is no key and no value of ours.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

/// Kubernetes tells every container of a service called `sterna` where that is, in variables that
/// nobody has asked for.
fn names_a_service(variable: &str) -> bool {
    let rest = variable.strip_prefix("STERNA_").unwrap_or_default();
    rest == "SERVICE_HOST"
        || rest == "PORT"
        || rest.starts_with("SERVICE_PORT")
        || rest.strip_prefix("PORT_").is_some_and(|rest| rest.starts_with(|c: char| c.is_numeric()))
}

/// The file that is being read, to turn byte positions into lines.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn origin(&self, at: usize) -> Origin {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Origin::File { path: self.path.to_owned(), line }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if metadata.len() > FILE_BYTES {
        return Err(format!("{} bytes are too many for a configuration", metadata.len()));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

fn plain(kind: Kind, value: &DeValue<'_>) -> Option<RawValue> {
    match kind {
        Kind::Text | Kind::Duration => value.as_str().map(|text| RawValue::Text(text.to_owned())),
        Kind::Bool => value.as_bool().map(RawValue::Bool),
        Kind::Integer => {
            let integer = value.as_integer()?;
            let digits = integer.as_str().replace('_', "");
            u64::from_str_radix(&digits, integer.radix()).ok().map(RawValue::Integer)
        }
        Kind::Texts => {
            let parts = value.as_array()?.iter();
            let texts = parts.map(|part| part.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map(RawValue::Texts)
        }
        Kind::Tables(_) => None,
    }
}

fn mismatch(setting: &Setting, found: &str) -> String {
    let wanted = match setting.kind {
        Kind::Text => "a text",
        Kind::Bool => "true or false",
        Kind::Integer => "a whole number, 0 or more",
        Kind::Duration => "a duration such as \"10s\"",
        Kind::Texts => "a list of texts",
        Kind::Tables(_) => return format!("`{0}` is written as [[{0}]] in the file", setting.path),
    };
    format!("`{}` is {wanted}, not this {found}", setting.path)
}

fn unknown(path: &str) -> String {
    match nearest(path, SETTINGS.iter().map(|setting| setting.path)) {
        Some(near) => format!("`{path}` is not a key; did you mean `{near}`?"),
        None => format!("`{path}` is not a key"),
    }
}

#[cfg(test)]
#[path = "raw_config_fuzz_tests.rs"]
mod fuzz_tests;
