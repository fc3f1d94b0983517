//! Each wrong setting of a database is found, by what a server says of itself.

use super::*;

fn config() -> SqlConfig {
    SqlConfig::new("mysql://u:p@db:3306/chat")
}

fn facts(version: &str, product: Product, changed: &[(&str, &str)]) -> ServerFacts {
    let good = [
        ("innodb_flush_log_at_trx_commit", "1"),
        ("innodb_doublewrite", "ON"),
        ("log_bin", "ON"),
        ("sync_binlog", "1"),
        ("binlog_format", "ROW"),
        ("read_only", "OFF"),
        ("max_connections", "1000"),
        ("max_prepared_stmt_count", "16382"),
        ("max_allowed_packet", "16777216"),
    ];
    let both = good.iter().chain(changed);
    ServerFacts {
        address: "db:3306".into(),
        product,
        version: version.into(),
        clock_ahead_ms: 0,
        variables: both.map(|(name, value)| ((*name).into(), (*value).into())).collect(),
    }
}

fn problems(facts: &ServerFacts, cores: u64) -> Vec<(Verdict, String)> {
    let findings = judge(facts, &config(), cores);
    for finding in &findings {
        let bad = finding.verdict != Verdict::Ok;
        assert_eq!((finding.why.is_some(), finding.fix.is_some()), (bad, bad), "{finding:?}");
    }
    let bad = findings.into_iter().filter(|finding| finding.verdict != Verdict::Ok);
    bad.map(|finding| (finding.verdict, finding.what)).collect()
}

#[test]
fn what_is_set_well_is_no_problem() {
    for (version, product) in [
        ("8.4.2", Product::MySql),
        ("10.11.6-MariaDB-0+deb12u1", Product::MariaDb),
        ("8.0.11-TiDB-v8.1.0", Product::TiDb),
    ] {
        assert_eq!(problems(&facts(version, product, &[]), 3), []);
    }
}

#[test]
fn each_wrong_setting_is_found() {
    for (name, value, verdict) in [
        ("innodb_flush_log_at_trx_commit", "0", Verdict::Broken),
        ("innodb_flush_log_at_trx_commit", "2", Verdict::Warning),
        ("sync_binlog", "0", Verdict::Warning),
        ("binlog_format", "STATEMENT", Verdict::Broken),
        ("innodb_doublewrite", "OFF", Verdict::Warning),
        ("read_only", "ON", Verdict::Broken),
        ("super_read_only", "1", Verdict::Broken),
        ("max_connections", "5", Verdict::Broken),
        ("max_prepared_stmt_count", "0", Verdict::Broken),
        ("max_prepared_stmt_count", "1000", Verdict::Warning),
        ("max_allowed_packet", "1048576", Verdict::Broken),
    ] {
        let found = problems(&facts("8.4.2", Product::MySql, &[(name, value)]), 1);
        assert_eq!(found.len(), 1, "{name} = {value}: {found:?}");
        assert_eq!(found[0].0, verdict, "{name} = {value}");
        assert!(found[0].1.contains(name) && found[0].1.contains("db:3306"), "{found:?}");
    }
}

#[test]
fn pools_of_all_cores_have_to_fit() {
    let each = (config().write_connections + config().read_connections) as u64;
    let most = (2 * each + OTHER_CONNECTIONS).to_string();
    let facts = facts("8.4.2", Product::MySql, &[("max_connections", &most)]);
    assert_eq!(problems(&facts, 2), []);
    assert_eq!(problems(&facts, 3)[0].0, Verdict::Warning);
}

#[test]
fn a_server_that_is_old_or_shows_another_time_is_told_of() {
    let mut facts = facts("5.7.44", Product::MySql, &[]);
    facts.clock_ahead_ms = -90_000;
    let found = problems(&facts, 1);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].1.contains("5.7.44") && found[1].1.contains("-90000 ms"), "{found:?}");
    assert_eq!(numbers("8.0.11-TiDB-v6.5.3", Product::TiDb), Some((6, 5)));
}

#[test]
fn without_a_binary_log_its_settings_do_not_matter() {
    let changed = [("log_bin", "OFF"), ("sync_binlog", "0"), ("binlog_format", "STATEMENT")];
    assert_eq!(problems(&facts("8.4.2", Product::MySql, &changed), 1), []);
}

#[test]
fn a_server_that_does_not_answer_is_broken() {
    let config = SqlConfig::new("mysql://u:p@127.0.0.1:1/chat");
    let findings = examine(&config, 1);
    assert_eq!(findings[0].verdict, Verdict::Broken);
    assert!(findings[0].what.contains("127.0.0.1:1"), "{findings:?}");
    assert!(!findings[0].what.contains("u:p"), "no password is told");
}
