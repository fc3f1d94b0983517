//! Who may do what: keys for access tokens, API keys, and the surface that takes them.

use std::path::Path;
use std::str::FromStr as _;

use sterna_edge::auth::jwks::{JwksConfig, JwksSource};
use sterna_edge::auth::{AuthConfig, AuthKey, Authenticator, KeyAlgorithm};
use sterna_edge::http::{ApiKey, HttpConfig, Role};

use super::Reader;
use crate::console;
use crate::keys;
use crate::raw_config::RawTable;

impl Reader {
    pub(super) fn auth(&mut self) -> Option<AuthConfig> {
        let leeway = self.duration("auth.leeway", "10s", "0s", "10m");
        let require_expiry = self.bool("auth.require_expiry", true);
        let jwks = self.jwks();
        let tables = self.tables("auth.keys");
        let has_jwks = self.text("auth.jwks.url").or(self.text("auth.jwks.file")).is_some();
        if tables.is_empty() && !has_jwks {
            return self.missing("auth.keys");
        }
        let found: Vec<AuthKey> = tables.iter().filter_map(|table| self.auth_key(table)).collect();
        if found.len() < tables.len() {
            return None;
        }
        let config = AuthConfig {
            jwks: jwks?,
            audience: self.text("auth.audience"),
            issuer: self.text("auth.issuer"),
            leeway: leeway?,
            require_expiry: require_expiry?,
            ..AuthConfig::new(found)
        };
        match Authenticator::new(config.clone()) {
            Ok(_) => Some(config),
            Err(error) => self.refuse("auth.keys", error),
        }
    }

    /// `Some(None)`: nobody else publishes keys.
    fn jwks(&mut self) -> Option<Option<JwksConfig>> {
        let (url, file) = (self.text("auth.jwks.url"), self.path("auth.jwks.file"));
        let ca = self.path("auth.jwks.ca");
        if let Some(Err(text)) = ca.as_deref().filter(|_| url.is_some()).map(keys::read_chain) {
            return self.refuse("auth.jwks.ca", text);
        }
        let source = match (url, file) {
            (None, None) if ca.is_some() => {
                return self.refuse("auth.jwks.ca", "there is no `auth.jwks.url` to trust it for");
            }
            (None, None) => return Some(None),
            (Some(_), Some(_)) => {
                return self.refuse("auth.jwks.url", "give this or `auth.jwks.file`, not both");
            }
            (None, Some(path)) => JwksSource::File(path),
            (Some(url), None) => match url.parse() {
                Ok(url) => JwksSource::Url { url, ca },
                Err(error) => return self.refuse("auth.jwks.url", error),
            },
        };
        Some(Some(JwksConfig::new(source)))
    }

    fn auth_key(&mut self, table: &RawTable) -> Option<AuthKey> {
        let algorithm = self.entry(table, "auth.keys", "algorithm");
        let file = self.entry(table, "auth.keys", "file");
        let (origin, name) = algorithm?;
        let algorithm = match KeyAlgorithm::from_str(&name) {
            Ok(algorithm) => algorithm,
            Err(error) => {
                self.raw.complain(origin, format!("`auth.keys.algorithm`: {error}"));
                return None;
            }
        };
        let (origin, path) = file?;
        let read = match algorithm {
            KeyAlgorithm::Hs256 => keys::read_secret(Path::new(&path)).map(String::into_bytes),
            _ => std::fs::read(&path).map_err(|error| format!("cannot read {path}: {error}")),
        };
        match read {
            Ok(material) => {
                let kid = table.texts.get("kid").map(|(_, kid)| kid.clone());
                Some(AuthKey { kid, algorithm, material })
            }
            Err(text) => {
                self.raw.complain(origin, format!("`auth.keys.file`: {text}"));
                None
            }
        }
    }

    pub(super) fn http(&mut self) -> Option<HttpConfig> {
        let address = self.address("http.address", "127.0.0.1:4480");
        let connections = self.integer("http.connections", 256, 1..=100_000);
        let request_deadline = self.duration("http.request_deadline", "30s", "1s", "10m");
        let read_deadline = self.duration("http.read_deadline", "30s", "1s", "10m");
        let console = self.bool("http.console", true);
        let tables = self.tables("http.api_keys");
        let found: Vec<ApiKey> = tables.iter().filter_map(|table| self.api_key(table)).collect();
        if found.len() < tables.len() {
            return None;
        }
        if let Err(error) = sterna_edge::http::check_api_keys(&found) {
            return self.refuse("http.api_keys", error);
        }
        let mut http = HttpConfig {
            connections: connections? as usize,
            request_deadline: request_deadline?,
            read_deadline: read_deadline?,
            ..HttpConfig::new(address?, found)
        };
        if console? {
            console::add_to(&mut http);
        }
        Some(http)
    }

    fn api_key(&mut self, table: &RawTable) -> Option<ApiKey> {
        let id = self.entry(table, "http.api_keys", "id");
        let file = self.entry(table, "http.api_keys", "secret_file");
        let ((_, id), (origin, path)) = (id?, file?);
        let role = match table.texts.get("role") {
            None => Role::Operator,
            Some((_, role)) if role == "operator" => Role::Operator,
            Some((_, role)) if role == "observer" => Role::Observer,
            Some((origin, role)) => {
                let text = format!("`http.api_keys.role`: `{role}` is none of operator, observer");
                self.raw.complain(origin.clone(), text);
                return None;
            }
        };
        match keys::read_secret(Path::new(&path)) {
            Ok(secret) => Some(ApiKey { id, secret, role }),
            Err(text) => {
                self.raw.complain(origin, format!("`http.api_keys.secret_file`: {text}"));
                None
            }
        }
    }
}
