//! Values by type, for the sections beside this file: each either fits or is complained about, with
//! its origin, and a key that is not given takes its default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::Reader;
use crate::raw_config::{Origin, RawTable, RawValue};

impl Reader {
    pub(super) fn missing<T>(&mut self, path: &str) -> Option<T> {
        // A value that was there but of the wrong type has complained already.
        let origin = self.raw.origin(path);
        self.raw.complain(origin, format!("`{path}` is missing and has no default"));
        None
    }

    pub(super) fn refuse<T>(&mut self, path: &str, reason: impl std::fmt::Display) -> Option<T> {
        let origin = self.raw.origin(path);
        self.raw.complain(origin, format!("`{path}`: {reason}"));
        None
    }

    pub(super) fn entry(
        &mut self,
        table: &RawTable,
        path: &str,
        name: &str,
    ) -> Option<(Origin, String)> {
        let found = table.texts.get(name).cloned();
        if found.is_none() {
            let text = format!("`{path}.{name}` is missing and has no default");
            self.raw.complain(table.origin.clone(), text);
        }
        found
    }

    pub(super) fn is_given(&self, path: &str) -> bool {
        self.raw.get(path).is_some()
    }

    pub(super) fn text(&self, path: &str) -> Option<String> {
        match self.raw.get(path) {
            Some((_, RawValue::Text(text))) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn texts(&self, path: &str) -> Vec<String> {
        match self.raw.get(path) {
            Some((_, RawValue::Texts(texts))) => texts.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn tables(&self, path: &str) -> Vec<RawTable> {
        match self.raw.get(path) {
            Some((_, RawValue::Tables(tables))) => tables.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn path(&self, path: &str) -> Option<PathBuf> {
        self.text(path).map(PathBuf::from)
    }

    pub(super) fn bool(&self, path: &str, default: bool) -> Option<bool> {
        match self.raw.get(path) {
            Some((_, RawValue::Bool(value))) => Some(*value),
            _ => Some(default),
        }
    }

    pub(super) fn integer(
        &mut self,
        path: &str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = match self.raw.get(path) {
            Some((_, RawValue::Integer(value))) => *value,
            _ => default,
        };
        if range.contains(&value) {
            return Some(value);
        }
        self.refuse(path, format!("{value} is not between {} and {}", range.start(), range.end()))
    }

    pub(super) fn parsed<T: FromStr>(&mut self, path: &str, default: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.text(path).unwrap_or_else(|| default.to_owned());
        text.parse().map_or_else(|error| self.refuse(path, error), Some)
    }

    pub(super) fn address(&mut self, path: &str, default: &str) -> Option<SocketAddr> {
        let text = self.text(path).unwrap_or_else(|| default.to_owned());
        match text.parse() {
            Ok(address) => Some(address),
            Err(_) => self.refuse(
                path,
                format!("`{text}` is not address:port; write 127.0.0.1:4443 or [::]:4443"),
            ),
        }
    }

    pub(super) fn duration(
        &mut self,
        path: &str,
        default: &str,
        least: &str,
        most: &str,
    ) -> Option<Duration> {
        let text = self.text(path).unwrap_or_else(|| default.to_owned());
        let parse = crate::args::parse_duration;
        match (parse(&text), parse(least), parse(most)) {
            (Ok(value), Ok(low), Ok(high)) if (low..=high).contains(&value) => Some(value),
            (Ok(_), _, _) => self.refuse(path, format!("{text} is not between {least} and {most}")),
            (Err(error), _, _) => self.refuse(path, error),
        }
    }

    /// The first choice is the default.
    pub(super) fn choice<T: Copy>(&mut self, path: &str, choices: &[(&str, T)]) -> Option<T> {
        let Some(text) = self.text(path) else { return choices.first().map(|(_, value)| *value) };
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => Some(*value),
            None => self.refuse(path, format!("`{text}` is none of {}", names.join(", "))),
        }
    }
}
