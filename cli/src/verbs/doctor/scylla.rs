//! How the cluster with the publication log is set, against what the log relies on.

use sterna_storage_scylla::{ClusterFacts, KeyspaceFacts, Product, SCHEMA, ScyllaConfig};

use super::{Finding, Verdict, connect};

const CHECK: &str = "log";

/// With fewer copies no node may be away.
const COPIES: u16 = 3;

pub(super) fn examine(config: &ScyllaConfig) -> Vec<Finding> {
    let asked = connect::block_on(async { Ok(sterna_storage_scylla::examine(config).await) });
    let error = match asked {
        Ok(Ok(facts)) => return judge(&facts, config),
        Ok(Err(error)) => error.to_string(),
        Err(error) => format!("{error:#}"),
    };
    let why = "nothing is acknowledged without it";
    let fix = "start it, or correct `[scylla]`: nodes, datacenter, user, password and firewall";
    vec![Finding::bad(CHECK, Verdict::Broken, error, why, fix)]
}

/// Pure.
fn judge(facts: &ClusterFacts, config: &ScyllaConfig) -> Vec<Finding> {
    let name = match facts.product {
        Product::Scylla => "ScyllaDB",
        Product::Cassandra => "Cassandra",
    };
    let what = format!(
        "{name} {} answers; {} of {} nodes in {} take connections",
        facts.version, facts.connected, facts.nodes, config.datacenter
    );
    let mut findings = vec![Finding::ok(CHECK, what)];
    findings.extend(version(facts, name));
    findings.extend(durability(facts));
    match &facts.keyspace {
        Some(keyspace) => findings.extend(judge_keyspace(keyspace, facts, config)),
        None if config.migrate => {}
        None => findings.push(Finding::bad(
            CHECK,
            Verdict::Broken,
            format!("there is no keyspace {:?}", config.keyspace),
            "there is nowhere to put publications",
            "run `sterna migrate` with this configuration",
        )),
    }
    findings
}

fn version(facts: &ClusterFacts, name: &str) -> Option<Finding> {
    let oldest = match facts.product {
        Product::Scylla => (5, 4),
        Product::Cassandra => (4, 1),
    };
    if numbers(&facts.version) >= Some(oldest) {
        return None;
    }
    Some(Finding::bad(
        CHECK,
        Verdict::Warning,
        format!("version {} is older than what the log is meant for", facts.version),
        "conditional writes of older versions have faults of their own",
        format!("upgrade to {name} {}.{} or newer", oldest.0, oldest.1),
    ))
}

fn durability(facts: &ClusterFacts) -> Option<Finding> {
    let sync = facts.commitlog_sync.as_deref()?;
    if sync != "periodic" {
        return None;
    }
    Some(Finding::bad(
        CHECK,
        Verdict::Warning,
        "commitlog_sync = periodic".to_owned(),
        "a power cut of all copies at once loses seconds of acknowledged publications (I1)",
        "`commitlog_sync: batch` or `group` in cassandra.yaml of every node",
    ))
}

fn judge_keyspace(
    keyspace: &KeyspaceFacts,
    facts: &ClusterFacts,
    config: &ScyllaConfig,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut bad = |verdict, what: String, why: &'static str, fix: &str| {
        findings.push(Finding::bad(CHECK, verdict, what, why, fix));
    };
    match keyspace.replication {
        None => bad(
            Verdict::Broken,
            format!("the keyspace has no copies that belong to {}", config.datacenter),
            "appends are decided by the copies in one datacenter",
            "give it NetworkTopologyStrategy with that datacenter, and repair it",
        ),
        Some(copies) if copies < COPIES => bad(
            Verdict::Warning,
            format!("the keyspace has {copies} copies in {}", config.datacenter),
            "with fewer than three, publications wait while any node is away",
            "ALTER KEYSPACE to 3 copies, one for each rack, and repair it",
        ),
        Some(_) => {}
    }
    // Decided since 2025.4; before, conditional writes are refused.
    if keyspace.tablets && numbers(&facts.version) < Some((2025, 4)) {
        bad(
            Verdict::Broken,
            "the keyspace is divided into tablets".to_owned(),
            "this version of ScyllaDB decides no conditional writes there",
            "make it again WITH tablets = {'enabled': false}, or upgrade ScyllaDB",
        );
    }
    match keyspace.schema {
        Some(version) if version > SCHEMA => bad(
            Verdict::Broken,
            format!("the tables have version {version}, and this program knows {SCHEMA}"),
            "they were made by a newer program",
            "use that program, or a newer one",
        ),
        Some(version) if version < SCHEMA && !config.migrate => bad(
            Verdict::Broken,
            format!("the tables have version {version}, and this program needs {SCHEMA}"),
            "the node does not start with them",
            "run `sterna migrate` with this configuration",
        ),
        None if !config.migrate => bad(
            Verdict::Broken,
            "the keyspace has none of the log's tables".to_owned(),
            "the node does not start without them",
            "run `sterna migrate` with this configuration",
        ),
        _ => {}
    }
    if let Some(error) = &keyspace.undecided {
        bad(
            Verdict::Broken,
            format!("nothing can be decided: {error}"),
            "an append needs a majority of the copies in the datacenter",
            "start the nodes that are away; `nodetool status` tells which",
        );
    }
    findings
}

/// Major and minor version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ScyllaConfig {
        let mut config = ScyllaConfig::new(vec!["db:9042".into()], "sterna", "east");
        config.migrate = false;
        config
    }

    fn facts(version: &str, product: Product) -> ClusterFacts {
        let keyspace = KeyspaceFacts {
            replication: Some(3),
            tablets: false,
            schema: Some(SCHEMA),
            undecided: None,
        };
        ClusterFacts {
            product,
            version: version.into(),
            nodes: 3,
            connected: 3,
            commitlog_sync: (product == Product::Cassandra).then(|| "batch".into()),
            keyspace: Some(keyspace),
        }
    }

    fn problems(facts: &ClusterFacts) -> Vec<(Verdict, String)> {
        let findings = judge(facts, &config());
        for finding in &findings {
            let bad = finding.verdict != Verdict::Ok;
            assert_eq!((finding.why.is_some(), finding.fix.is_some()), (bad, bad), "{finding:?}");
        }
        let bad = findings.into_iter().filter(|finding| finding.verdict != Verdict::Ok);
        bad.map(|finding| (finding.verdict, finding.what)).collect()
    }

    #[test]
    fn clusters_that_are_well_set_have_no_problems() {
        for (version, product) in [
            ("5.0.5", Product::Cassandra),
            ("4.1.0", Product::Cassandra),
            ("6.2.1-0.20241106", Product::Scylla),
            ("2025.1.0", Product::Scylla),
        ] {
            assert_eq!(problems(&facts(version, product)), [], "{version}");
        }
    }

    #[test]
    fn each_wrong_setting_is_found() {
        let cassandra = || facts("5.0.5", Product::Cassandra);
        let found = |change: &dyn Fn(&mut ClusterFacts)| {
            let mut facts = cassandra();
            change(&mut facts);
            let found = problems(&facts);
            assert_eq!(found.len(), 1, "{found:?}");
            found[0].clone()
        };
        let keyspace = |change: &'static dyn Fn(&mut KeyspaceFacts)| {
            found(&|facts| change(facts.keyspace.as_mut().unwrap()))
        };
        let (verdict, what) = found(&|facts| facts.commitlog_sync = Some("periodic".into()));
        assert_eq!(verdict, Verdict::Warning, "{what}");
        assert_eq!(found(&|facts| facts.version = "3.11.4".into()).0, Verdict::Warning);
        assert_eq!(found(&|facts| facts.keyspace = None).0, Verdict::Broken);
        assert_eq!(keyspace(&|it| it.replication = Some(1)).0, Verdict::Warning);
        assert_eq!(keyspace(&|it| it.replication = None).0, Verdict::Broken);
        assert_eq!(keyspace(&|it| it.schema = None).0, Verdict::Broken);
        assert_eq!(keyspace(&|it| it.schema = Some(SCHEMA + 1)).0, Verdict::Broken);
        let (verdict, what) = keyspace(&|it| it.undecided = Some("1 of 2 copies".into()));
        assert!(verdict == Verdict::Broken && what.contains("1 of 2 copies"), "{what}");
        let mut tablets = facts("2025.1.0", Product::Scylla);
        tablets.keyspace.as_mut().unwrap().tablets = true;
        assert_eq!(problems(&tablets)[0].0, Verdict::Broken);
        tablets.version = "2025.4.2".into();
        assert_eq!(problems(&tablets), []);
    }

    #[test]
    fn a_cluster_that_does_not_answer_is_broken() {
        let mut config = ScyllaConfig::new(vec!["127.0.0.1:1".into()], "sterna", "east");
        config.patience = std::time::Duration::from_millis(500);
        let findings = examine(&config);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].verdict, Verdict::Broken);
        assert!(findings[0].what.contains("127.0.0.1:1"), "{findings:?}");
    }
}
