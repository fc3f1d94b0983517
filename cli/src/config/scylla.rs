//! The publication log beside the SQL store: where its nodes are and how they are spoken to.

use sterna_storage_scylla::{Login, ScyllaConfig, Tls};

use super::Reader;
use crate::keys;

impl Reader {
    /// `Some(None)`: publications lie in the SQL store, with the rest.
    pub(super) fn scylla(&mut self, is_sql: bool) -> Option<Option<ScyllaConfig>> {
        let wanted = self.choice("store.log", &[("sql", false), ("scylla", true)])?;
        if !wanted {
            if self.is_given("scylla.nodes") {
                let reason = "of no use without `store.log = \"scylla\"`";
                return self.refuse("scylla.nodes", reason);
            }
            return Some(None);
        }
        if !is_sql {
            let reason = "what is beside the log needs `store.engine = \"sql\"`";
            return self.refuse("store.log", reason);
        }
        let nodes = self.scylla_nodes();
        let datacenter = self.text("scylla.datacenter");
        let datacenter = datacenter.or_else(|| self.missing("scylla.datacenter"));
        let keyspace = self.text("scylla.keyspace").unwrap_or_else(|| "sterna".to_owned());
        let mut scylla = ScyllaConfig::new(nodes?, keyspace, datacenter?);
        scylla.login = self.scylla_login()?;
        scylla.tls = self.scylla_tls()?;
        scylla.migrate = self.bool("scylla.migrate", true)?;
        let copies = u64::from(scylla.replication);
        scylla.replication = self.integer("scylla.replication", copies, 1..=16)? as u16;
        scylla.patience = self.duration("scylla.patience", "5s", "1s", "1m")?;
        scylla.calls = self.integer("scylla.calls", scylla.calls as u64, 1..=65_536)? as usize;
        Some(Some(scylla))
    }

    fn scylla_nodes(&mut self) -> Option<Vec<String>> {
        let nodes = self.texts("scylla.nodes");
        if nodes.is_empty() {
            return self.missing("scylla.nodes");
        }
        let has_port = |node: &String| {
            node.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
            })
        };
        if !nodes.iter().all(has_port) {
            return self.refuse("scylla.nodes", "write host:port for each node, usually port 9042");
        }
        Some(nodes)
    }

    fn scylla_login(&mut self) -> Option<Option<Login>> {
        let (user, password) = (self.text("scylla.user"), self.path("scylla.password_file"));
        match (user, password) {
            (None, None) => Some(None),
            (Some(user), Some(file)) => match keys::read_secret(&file) {
                Ok(password) => Some(Some(Login { user, password })),
                Err(text) => self.refuse("scylla.password_file", text),
            },
            (Some(_), None) => self.missing("scylla.password_file"),
            (None, Some(_)) => self.missing("scylla.user"),
        }
    }

    fn scylla_tls(&mut self) -> Option<Tls> {
        let authorities = self.path("scylla.authorities");
        if let Some(Err(text)) = authorities.as_deref().map(keys::read_chain) {
            return self.refuse("scylla.authorities", text);
        }
        match self.bool("scylla.tls", authorities.is_some())? {
            true => Some(Tls::Required { authorities }),
            false if authorities.is_none() => Some(Tls::Off),
            false => self.refuse("scylla.tls", "`scylla.authorities` are of no use without it"),
        }
    }
}
