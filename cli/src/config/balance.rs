//! How clients are spread over edges: what balancers read in connection ids, what edges share so that
//! each can go on where another began, and where newcomers are sent.

use std::path::Path;

use sterna_core::cluster::balance::{AffinityBy, BalanceConfig, Policy};
use sterna_edge::IdFormat;

use super::cluster::Roles;
use super::{CLIENT_ADDRESS, Reader};
use crate::keys;

impl Reader {
    /// `Some(None)`: no balancer reads connection ids.
    pub(super) fn connection_ids(&mut self) -> Option<Option<IdFormat>> {
        let config_id = self.integer("quic_lb.config_id", 0, 0..=6);
        let key = self.connection_id_key();
        let in_clear = self.bool("quic_lb.in_clear", false);
        let tells_length = self.bool("quic_lb.tells_length", false);
        if !self.is_given("quic_lb.config_id") {
            return match QUIC_LB.iter().find(|path| self.is_given(path)) {
                Some(path) => self.refuse(path, "without `quic_lb.config_id` it has no effect"),
                None => Some(None),
            };
        }
        let server_id = self.server_id()?;
        let usual = 16usize.saturating_sub(server_id.len()).max(IdFormat::NONCE_OCTETS);
        let nonce_octets = self.integer("quic_lb.nonce_octets", usual as u64, 7..=18);
        let key = key?;
        match (&key, in_clear?) {
            (None, false) => {
                let reason = "name a file with the key of the balancers (16 octets in hexadecimal), \
                              or say `quic_lb.in_clear = true`: then onlookers see which clients \
                              stay with which edge";
                return self.refuse("quic_lb.key_file", reason);
            }
            (Some(_), true) => {
                let reason = "with `quic_lb.key_file` nothing is in clear; leave one of them out";
                return self.refuse("quic_lb.in_clear", reason);
            }
            _ => {}
        }
        let format = IdFormat {
            config_id: config_id? as u8,
            key,
            server_id,
            nonce_octets: nonce_octets? as usize,
            tells_length: tells_length?,
        };
        match format.check() {
            Ok(()) => Some(Some(format)),
            Err(reason) => self.refuse("quic_lb.nonce_octets", reason),
        }
    }

    /// `Some(None)`: there is no file.
    fn connection_id_key(&mut self) -> Option<Option<[u8; 16]>> {
        let Some(file) = self.path("quic_lb.key_file") else { return Some(None) };
        match keys::read_hex(&file) {
            Ok(key) => Some(Some(key)),
            Err(text) => self.refuse("quic_lb.key_file", text),
        }
    }

    /// The node's number in three octets, unless it is given another one.
    fn server_id(&mut self) -> Option<Vec<u8>> {
        let Some(text) = self.text("quic_lb.server_id") else {
            let number = self.integer("node.number", 1, 0..=0xff_ffff)?;
            return Some((number as u32).to_be_bytes()[1..].to_vec());
        };
        // As load balancers of AWS name targets.
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        match keys::parse_hex(digits) {
            Some(octets) if !octets.is_empty() => Some(octets),
            _ => self.refuse("quic_lb.server_id", "write octets in hexadecimal, as in 00001f"),
        }
    }

    /// Secrets that all edges share, the newest first.
    pub(super) fn cluster_secrets(&mut self) -> Option<Vec<[u8; 32]>> {
        let files = self.texts("cluster.secrets");
        let read = files.iter().map(|file| keys::read_hex(Path::new(file)));
        match read.collect() {
            Ok(secrets) => Some(secrets),
            Err(text) => self.refuse("cluster.secrets", text),
        }
    }

    pub(super) fn balance(&mut self, roles: Roles) -> Option<BalanceConfig> {
        let policies =
            [Policy::Off, Policy::WeightedRoundRobin, Policy::LeastConnections, Policy::Affinity];
        let policy = self.choice("balance.sessions", &policies.map(|it| (it.name(), it)));
        let affinity = self.affinity();
        let usual = BalanceConfig::default().slack_percent;
        let slack_percent = self.integer("balance.slack_percent", usual.into(), 0..=1000);
        let policy = policy?;
        if policy != Policy::Off && !self.is_given("cluster.address") {
            let reason = "a node that is alone (no `cluster.address`) has no other edge to send \
                          anybody to";
            return self.refuse("balance.sessions", reason);
        }
        if policy != Policy::Off && roles.edge && self.is_anywhere() {
            let reason = "name the host:port at which clients reach this edge and no other: \
                          `client.address` stands for every address of this machine";
            return self.refuse("client.advertise", reason);
        }
        Some(BalanceConfig { policy, affinity: affinity?, slack_percent: slack_percent? as u32 })
    }

    /// Whether clients could not be told where this edge is.
    fn is_anywhere(&mut self) -> bool {
        let address = self.address("client.address", CLIENT_ADDRESS);
        let unspecified = address.is_some_and(|address| address.ip().is_unspecified());
        unspecified && !self.is_given("client.advertise")
    }

    fn affinity(&mut self) -> Option<AffinityBy> {
        let text = self.text("balance.affinity").unwrap_or_else(|| "token_subject".to_owned());
        match text.split_once(':') {
            None if text == "token_subject" => Some(AffinityBy::TokenSubject),
            None if text == "source_address" => Some(AffinityBy::SourceAddress),
            Some(("header", name)) if is_field_name(name) => {
                Some(AffinityBy::Header(name.to_ascii_lowercase()))
            }
            _ => {
                let reason = format!(
                    "`{text}` is none of token_subject, source_address, header:NAME (as in \
                     header:X-Tenant)"
                );
                self.refuse("balance.affinity", reason)
            }
        }
    }
}

/// RFC 9110, section 5.1.
fn is_field_name(name: &str) -> bool {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
    !name.is_empty() && name.bytes().all(allowed)
}

/// What says something about connection ids that balancers read, beside their config id.
const QUIC_LB: &[&str] = &[
    "quic_lb.key_file",
    "quic_lb.in_clear",
    "quic_lb.server_id",
    "quic_lb.nonce_octets",
    "quic_lb.tells_length",
];
