//! Whether the Redis servers of a cluster can be reached, and how they are set. Nothing that is
//! acknowledged depends on them (I6), so whatever is found is a warning: nodes work without them, with
//! seconds where there were none.

use sterna_storage_redis::{NodeReport, RedisConfig, RedisReport, RedisStore};

use super::{Finding, Verdict, connect};

const CHECK: &str = "redis";

/// Asks every server.
pub(super) fn examine(config: &RedisConfig) -> Vec<Finding> {
    let asked = connect::block_on(async { Ok(RedisStore::open(config.clone())?.check().await?) });
    match asked {
        Ok(report) => judge(&report),
        Err(error) => vec![Finding::bad(
            CHECK,
            Verdict::Warning,
            // With its cause in it.
            error.to_string(),
            "after a change of owner or of edge, deliveries and presence take seconds, and each node \
             counts by itself what a user may publish",
            "start it, or correct `redis.urls`, `redis.user` and `redis.password`, or the firewall",
        )],
    }
}

/// What the servers say of themselves; pure.
fn judge(report: &RedisReport) -> Vec<Finding> {
    let answers = report.nodes.iter().map(|node| Finding::ok(CHECK, described(node)));
    let problems = report.warnings.iter().map(|warning| {
        let what = format!("{} {}", warning.address, warning.what);
        Finding::bad(CHECK, Verdict::Warning, what, warning.why, warning.fix)
    });
    answers.chain(problems).collect()
}

fn described(node: &NodeReport) -> String {
    let told = [
        ("mode", &node.mode),
        ("maxmemory-policy", &node.eviction),
        ("cluster_state", &node.cluster_state),
    ];
    let told = told.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let told: String = told.map(|(name, value)| format!(", {name} {value}")).collect();
    format!("{} answers, version {}{told}", node.address, node.version)
}

#[cfg(test)]
mod tests {
    use sterna_storage_redis::RedisWarning;

    use super::*;

    #[test]
    fn every_server_is_told_of_and_each_problem_with_its_fix() {
        let node = NodeReport {
            address: "r1:6379".into(),
            version: "7.2.4".into(),
            mode: Some("cluster".into()),
            eviction: None,
            cluster_state: Some("fail".into()),
        };
        let warning = RedisWarning {
            address: "r1:6379".into(),
            what: "says cluster_state fail".into(),
            why: "it answers nobody",
            fix: "see CLUSTER NODES",
        };
        let findings = judge(&RedisReport { nodes: vec![node], warnings: vec![warning] });
        let told = "r1:6379 answers, version 7.2.4, mode cluster, cluster_state fail";
        assert_eq!((findings[0].verdict, findings[0].what.as_str()), (Verdict::Ok, told));
        assert_eq!(findings[1].verdict, Verdict::Warning);
        assert_eq!(findings[1].what, "r1:6379 says cluster_state fail");
        assert_eq!(findings[1].fix.as_deref(), Some("see CLUSTER NODES"));
        assert_eq!(findings.len(), 2);
    }

    #[test]
    fn a_server_that_does_not_answer_is_a_warning_without_its_password() {
        let config = RedisConfig::new("redis://127.0.0.1:1");
        let config = RedisConfig { password: Some("hidden".into()), ..config };
        let findings = examine(&config);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].verdict, Verdict::Warning);
        assert!(findings[0].what.contains("127.0.0.1:1"), "{findings:?}");
        assert!(!format!("{findings:?}").contains("hidden"), "{findings:?}");
    }
}
