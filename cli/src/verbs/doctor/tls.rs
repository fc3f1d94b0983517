//! The certificate that clients see: how long it is valid, and for which names.

use std::path::Path;
use std::time::Duration;

use x509_parser::extensions::GeneralName;

use super::{CERTIFICATE, Finding, Verdict};
use crate::keys;

const CHECK: &str = "certificate";

/// `advertised`: `host:port` at which clients reach the node from outside, or nothing.
pub(super) fn examine(chain: &Path, advertised: &str) -> Vec<Finding> {
    let mut findings = vec![validity(chain)];
    findings.extend(names(chain, advertised));
    findings
}

fn validity(chain: &Path) -> Finding {
    let days = |left: Duration| format!("valid for {} more days", left.as_secs() / 86_400);
    let (verdict, what) = match keys::time_left(chain) {
        Ok(left) if left >= CERTIFICATE => return Finding::ok(CHECK, days(left)),
        Ok(left) => (Verdict::Warning, days(left)),
        Err(text) => (Verdict::Broken, text),
    };
    let why = "clients refuse a certificate that is not valid";
    Finding::bad(CHECK, verdict, what, why, "renew it, and send SIGHUP to the node")
}

fn names(chain: &Path, advertised: &str) -> Option<Finding> {
    let certificates = keys::read_chain(chain).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificates.first()?).ok()?;
    let extension = parsed.subject_alternative_name().ok().flatten();
    let names: Vec<String> = extension
        .map(|extension| extension.value.general_names.iter().filter_map(name).collect())
        .unwrap_or_default();
    let why = "clients compare the name that they dial with those in the certificate";
    if names.is_empty() {
        let what = "it names no host";
        let fix = "have it made with a subject alternative name (DNS or IP)";
        return Some(Finding::bad(CHECK, Verdict::Broken, what, why, fix));
    }
    let host = advertised.rsplit_once(':').map_or("", |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    if !host.is_empty() && !names.iter().any(|name| covers(name, host)) {
        let what = format!("it is for {}; clients are sent to {host}", names.join(", "));
        let fix =
            "have it made for that name too, unless all clients dial another one that is in it";
        return Some(Finding::bad(CHECK, Verdict::Warning, what, why, fix));
    }
    Some(Finding::ok(CHECK, format!("for {}", names.join(", "))))
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress([a, b, c, d]) => Some(format!("{a}.{b}.{c}.{d}")),
        GeneralName::IPAddress(bytes) => <[u8; 16]>::try_from(*bytes)
            .ok()
            .map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        _ => None,
    }
}

/// A star stands for one label (RFC 6125 section 6.4.3).
fn covers(name: &str, host: &str) -> bool {
    let wild = name.strip_prefix("*.").zip(host.split_once('.'));
    name.eq_ignore_ascii_case(host)
        || wild.is_some_and(|(domain, (_, rest))| domain.eq_ignore_ascii_case(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(names: &[&str], until_year: i32) -> tempfile::NamedTempFile {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), params.self_signed(&key).unwrap().pem()).unwrap();
        file
    }

    fn verdicts(names: &[&str], until_year: i32, advertised: &str) -> Vec<Verdict> {
        let file = chain(names, until_year);
        examine(file.path(), advertised).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn an_expired_certificate_is_broken() {
        assert_eq!(verdicts(&["a.example"], 2021, ""), [Verdict::Broken, Verdict::Ok]);
        assert_eq!(verdicts(&["a.example"], 2100, ""), [Verdict::Ok, Verdict::Ok]);
    }

    #[test]
    fn a_certificate_has_to_be_for_the_name_that_clients_are_sent_to() {
        let ok = [Verdict::Ok, Verdict::Ok];
        assert_eq!(verdicts(&["*.chat.example"], 2100, "e1.chat.example:443"), ok);
        assert_eq!(verdicts(&["192.0.2.1", "::1"], 2100, "192.0.2.1:443"), ok);
        assert_eq!(verdicts(&["192.0.2.1", "::1"], 2100, "[::1]:443"), ok);
        let other = verdicts(&["*.chat.example"], 2100, "a.b.chat.example:443");
        assert_eq!(other, [Verdict::Ok, Verdict::Warning]);
        assert_eq!(verdicts(&[], 2100, ""), [Verdict::Ok, Verdict::Broken]);
    }
}
