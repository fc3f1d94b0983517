//! How the servers of a SQL store are set, against what the store relies on. The engine sets its own
//! sessions (isolation, modes, time zone, lock waits, autocommit), so what is looked at here is what
//! only an administrator can change.

use sterna_storage_sql::{Product, STATEMENTS_PER_CONNECTION, ServerFacts, SqlConfig};

use super::{Finding, Verdict, connect};

const CHECK: &str = "database";

/// A clock that is further off than this is not kept by anybody.
const CLOCK_OFF_MS: i64 = 1000;

/// Connections that are not a core's: administrators, backups, replicas, migrations.
const OTHER_CONNECTIONS: u64 = 20;

/// The largest append with its dedup rows, and room for what a driver adds.
const STATEMENT_BYTES: u64 = 8 << 20;

/// Asks every server. `cores`: how many nodes share them, as far as is known.
pub(super) fn examine(config: &SqlConfig, cores: u64) -> Vec<Finding> {
    let asked = connect::block_on(async { Ok(sterna_storage_sql::examine(config).await) });
    match asked {
        Ok(Ok(servers)) => servers.iter().flat_map(|facts| judge(facts, config, cores)).collect(),
        Ok(Err((address, error))) => vec![Finding::bad(
            CHECK,
            Verdict::Broken,
            format!("{address}: {error}"),
            "nothing is acknowledged without it",
            "start it, or correct `store.urls`: address, user, password, database and firewall",
        )],
        Err(error) => vec![Finding::bad(
            CHECK,
            Verdict::Broken,
            format!("{error:#}"),
            "nothing is acknowledged without it",
            "correct `store.urls`",
        )],
    }
}

/// One server; pure.
fn judge(facts: &ServerFacts, config: &SqlConfig, cores: u64) -> Vec<Finding> {
    let mut findings =
        vec![Finding::ok(CHECK, format!("{} answers, version {}", facts.address, facts.version))];
    let server = Server { facts };
    findings.extend(server.version());
    if facts.product != Product::TiDb {
        findings.extend(server.flush());
        findings.extend(server.binary_log());
        findings.extend(server.doublewrite());
    }
    findings.extend(server.read_only());
    findings.extend(server.connections(config, cores));
    findings.extend(server.prepared_statements(config, cores));
    findings.extend(server.statement_bytes());
    findings.extend(server.clock());
    findings
}

struct Server<'a> {
    facts: &'a ServerFacts,
}

impl Server<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.facts.variables.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn is_on(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value.eq_ignore_ascii_case("on") || value == "1")
    }

    fn bad(
        &self,
        verdict: Verdict,
        what: &str,
        why: &'static str,
        fix: impl Into<String>,
    ) -> Option<Finding> {
        let what = format!("{}: {what}", self.facts.address);
        Some(Finding::bad(CHECK, verdict, what, why, fix))
    }

    fn version(&self) -> Option<Finding> {
        let (oldest, name) = match self.facts.product {
            Product::MySql => ((8, 0), "MySQL 8.0"),
            Product::MariaDb => ((10, 6), "MariaDB 10.6"),
            Product::TiDb => ((7, 1), "TiDB 7.1"),
        };
        if numbers(&self.facts.version, self.facts.product) >= Some(oldest) {
            return None;
        }
        self.bad(
            Verdict::Warning,
            &format!("version {} is older than what is tested", self.facts.version),
            "locks and errors of older servers are not known to the store",
            format!("upgrade to {name} or newer"),
        )
    }

    fn flush(&self) -> Option<Finding> {
        let value = self.text("innodb_flush_log_at_trx_commit")?;
        let (verdict, why) = match value {
            "1" => return None,
            "2" => (
                Verdict::Warning,
                "a power cut of the server loses up to a second of acknowledged publications (I1)",
            ),
            _ => (
                Verdict::Broken,
                "a crash of the server loses up to a second of acknowledged publications (I1)",
            ),
        };
        self.bad(
            verdict,
            &format!("innodb_flush_log_at_trx_commit = {value}"),
            why,
            "`SET GLOBAL innodb_flush_log_at_trx_commit = 1`, and in my.cnf under [mysqld]",
        )
    }

    fn binary_log(&self) -> Vec<Finding> {
        if !self.is_on("log_bin") {
            return Vec::new();
        }
        let mut findings = Vec::new();
        if self.number("sync_binlog") != Some(1) {
            findings.extend(self.bad(
                Verdict::Warning,
                &format!("sync_binlog = {}", self.text("sync_binlog").unwrap_or("unknown")),
                "after a power cut replicas and the server can disagree about what was stored",
                "`SET GLOBAL sync_binlog = 1`, and in my.cnf under [mysqld]",
            ));
        }
        if self.text("binlog_format").is_some_and(|format| format.eq_ignore_ascii_case("STATEMENT"))
        {
            findings.extend(self.bad(
                Verdict::Broken,
                "binlog_format = STATEMENT",
                "the server refuses every write at the isolation that the store uses (READ \
                 COMMITTED)",
                "`SET GLOBAL binlog_format = 'ROW'`, and in my.cnf under [mysqld]",
            ));
        }
        findings
    }

    fn doublewrite(&self) -> Option<Finding> {
        let value = self.text("innodb_doublewrite")?;
        if !value.eq_ignore_ascii_case("off") && value != "0" {
            return None;
        }
        self.bad(
            Verdict::Warning,
            "innodb_doublewrite = OFF",
            "a page that is written half in a power cut cannot be repaired",
            "`innodb_doublewrite = ON` in my.cnf, unless the file system writes pages as a whole",
        )
    }

    fn read_only(&self) -> Option<Finding> {
        let which = ["super_read_only", "read_only"].into_iter().find(|name| self.is_on(name))?;
        self.bad(
            Verdict::Broken,
            &format!("{which} = ON"),
            "it is a replica, or was made one: nothing can be stored there",
            format!("name the primary in `store.urls`, or `SET GLOBAL {which} = OFF`"),
        )
    }

    fn connections(&self, config: &SqlConfig, cores: u64) -> Option<Finding> {
        let most = self.number("max_connections").filter(|most| *most > 0)?;
        let each = (config.write_connections + config.read_connections) as u64;
        let wanted = each * cores + OTHER_CONNECTIONS;
        if most >= wanted {
            return None;
        }
        let verdict = if most < each { Verdict::Broken } else { Verdict::Warning };
        self.bad(
            verdict,
            &format!("max_connections = {most}; {cores} cores with {each} each can want {wanted}"),
            "publications wait for a connection that the server refuses",
            format!(
                "`SET GLOBAL max_connections = {wanted}`, or smaller `store.write_connections` and \
                 `store.read_connections`"
            ),
        )
    }

    fn prepared_statements(&self, config: &SqlConfig, cores: u64) -> Option<Finding> {
        let most = self.number("max_prepared_stmt_count")?;
        let connections = (config.write_connections + config.read_connections) as u64;
        let wanted = connections * cores * STATEMENTS_PER_CONNECTION as u64;
        if most >= wanted {
            return None;
        }
        self.bad(
            if most == 0 { Verdict::Broken } else { Verdict::Warning },
            &format!("max_prepared_stmt_count = {most}; {cores} cores can want {wanted}"),
            "the server refuses statements once so many are prepared on all connections together",
            format!(
                "`SET GLOBAL max_prepared_stmt_count = {wanted}`, and in my.cnf under [mysqld]"
            ),
        )
    }

    fn statement_bytes(&self) -> Option<Finding> {
        let bytes = self.number("max_allowed_packet")?;
        if bytes >= STATEMENT_BYTES {
            return None;
        }
        self.bad(
            Verdict::Broken,
            &format!("max_allowed_packet = {bytes}"),
            "a full append does not fit, and is refused for ever",
            format!("`SET GLOBAL max_allowed_packet = {}`, and in my.cnf", STATEMENT_BYTES * 2),
        )
    }

    fn clock(&self) -> Option<Finding> {
        let off = self.facts.clock_ahead_ms;
        if off.abs() <= CLOCK_OFF_MS {
            return None;
        }
        self.bad(
            Verdict::Warning,
            &format!("its clock is {off:+} ms from that of this machine"),
            "times of publications and of access tokens are told by the clocks of nodes",
            "let NTP set both clocks (`chronyc tracking`, `timedatectl`)",
        )
    }
}

/// Major and minor version; of TiDB its own, not that of the MySQL that it plays.
fn numbers(version: &str, product: Product) -> Option<(u32, u32)> {
    let own = match product {
        Product::TiDb => version.split("TiDB-v").nth(1)?,
        Product::MySql | Product::MariaDb => version,
    };
    let mut parts = own.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
