//! Fuzz targets of what comes before a session: connection ids, and requests for an upgrade.

use quinn_proto::{ConnectionId, ConnectionIdGenerator as _};
use sterna_fuzz::{Script, check};
use tokio_tungstenite::tungstenite::handshake::machine::TryParse as _;
use tokio_tungstenite::tungstenite::handshake::server::Request;

use super::upgrade;
use crate::steer::{ConnectionIds, IdFormat};

/// An own id, damaged: whatever is no longer it is not taken for it, and any bytes have an answer.
#[test]
fn fuzz_connection_id() {
    check!("connection_id", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let workers = 1 + script.below(32);
        let worker = script.below(workers);
        let format = IdFormat::of_node(script.byte().into(), [7; 16]);
        let steering = format.steering(workers, *b"steering");
        let mut own = ConnectionIds::new(format, steering, worker);
        let id = own.generate_cid();
        assert!(own.validate(&id).is_ok());
        let (at, change) = (usize::from(script.byte()) % id.len(), script.byte());
        let mut damaged = id.to_vec();
        damaged[at] ^= change;
        let taken = own.validate(&ConnectionId::new(&damaged)).is_ok();
        // The first octet names the worker in several ways; all others are under the cipher.
        assert!(!taken || change == 0 || at == 0, "octet {at} by {change:02x}");
        let foreign = script.rest();
        let foreign = &foreign[..foreign.len().min(20)];
        assert!(own.validate(&ConnectionId::new(foreign)).is_err());
    });
}

/// Any head of a request is upgraded or refused, and nothing that came with it becomes a field of
/// the answer.
#[test]
fn fuzz_upgrade() {
    check!("upgrade", |bytes: &[u8]| {
        let Ok(Some((length, request))) = Request::try_parse(bytes) else { return };
        assert!(length <= bytes.len());
        let allowed = ["https://app.example.com".to_owned()];
        let answer = match upgrade::decide(&request, &allowed) {
            Ok(upgraded) => {
                assert!(upgraded.head.ends_with(b"\r\n\r\n"));
                upgraded.head
            }
            Err(refused) => refused.response(),
        };
        let text = String::from_utf8(answer).unwrap();
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains('\0') && head.replace("\r\n", "").chars().all(|c| !c.is_control()));
        let fields: Vec<&str> =
            head.lines().skip(1).filter_map(|line| line.split(':').next()).collect();
        let known = [
            "connection",
            "upgrade",
            "sec-websocket-accept",
            "sec-websocket-protocol",
            "content-type",
            "content-length",
        ];
        for field in fields {
            assert!(known.contains(&field.to_ascii_lowercase().as_str()), "{field}");
        }
    });
}
