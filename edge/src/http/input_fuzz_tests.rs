//! Fuzz target of the HTTP API's bodies: any bytes become a body of the shape that is asked for, or
//! a refusal that says which.

use sterna_fuzz::check;

use super::super::{channels, publish, read};
use super::*;

#[test]
fn fuzz_api_json() {
    check!("api_json", |bytes: &[u8]| {
        let Some((shape, body)) = bytes.split_first() else { return };
        let taken = match shape % 10 {
            0 => refusal::<publish::PublishBody>(body),
            1 => refusal::<publish::BroadcastBody>(body),
            2 => refusal::<channels::CreateBody>(body),
            3 => refusal::<channels::ListBody>(body),
            4 => refusal::<channels::MembersBody>(body),
            5 => refusal::<channels::SetMemberBody>(body),
            6 => refusal::<channels::RemoveMemberBody>(body),
            7 => refusal::<read::HistoryBody>(body),
            8 => return check_uuid(body),
            _ => return check_payload(body),
        };
        let Some(refusal) = taken else {
            assert!(serde_json::from_slice::<serde_json::Value>(body).unwrap().is_object());
            return;
        };
        assert!(refusal.status.is_client_error() && !refusal.error.message.is_empty());
    });
}

fn refusal<T: DeserializeOwned>(body: &[u8]) -> Option<Refusal> {
    parse::<T>(body).err()
}

fn check_uuid(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    if let Ok(bytes) = uuid_bytes(text) {
        assert_eq!(bytes.len(), 16);
        assert_eq!(uuid_bytes(&uuid_text(&bytes)).ok(), Some(bytes));
    }
}

fn check_payload(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    if let Ok(bytes) = payload(None, Some(text.to_owned())) {
        assert_eq!(STANDARD.encode(&bytes), text, "one payload has one form");
    }
    assert!(payload(Some(text.to_owned()), None).is_ok_and(|bytes| bytes == text.as_bytes()));
}
