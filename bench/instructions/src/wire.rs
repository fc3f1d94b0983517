//! What every connection pays: frames, tickets, tokens.

use std::hint::black_box;

use jsonwebtoken::{EncodingKey, Header};
use sterna_core::session::ResumeTicket;
use sterna_edge::Authenticator;
use sterna_edge::auth::{AuthConfig, AuthKey, KeyAlgorithm};
use sterna_proto::{FrameDecoder, SessionId, codec, limits, v1};

use crate::measured;

/// A publication of the usual size, as it is pushed.
pub(crate) fn publication(offset: u64) -> v1::push::Event {
    v1::push::Event::Publication(v1::Publication {
        channel: "room:42".to_owned(),
        epoch: 7,
        offset,
        id: 0x0123_4567_89ab_cdef,
        sender: "alice@example".to_owned(),
        payload: vec![b'x'; 200].into(),
        server_ts_ms: 1_900_000_000_000,
        client_ts_ms: 1_900_000_000_000,
        client_msg_id: vec![9; 16].into(),
        ..Default::default()
    })
}

pub(crate) fn frame_encode(repeats: u32) {
    let frame = v1::Frame::push(publication(1_000_000));
    measured(repeats, &mut || drop(black_box(codec::encode_to_bytes(black_box(&frame)))));
}

pub(crate) fn frame_decode(repeats: u32) {
    let bytes = codec::encode_to_bytes(&v1::Frame::push(publication(1_000_000)));
    measured(repeats, &mut || {
        let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
        decoder.extend(black_box(&bytes));
        drop(black_box(decoder.next()));
    });
}

pub(crate) fn json_encode(repeats: u32) {
    let frame = v1::Frame::push(publication(1_000_000));
    measured(repeats, &mut || drop(black_box(codec::encode_json(black_box(&frame)))));
}

pub(crate) fn json_decode(repeats: u32) {
    let text = codec::encode_json(&v1::Frame::push(publication(1_000_000)));
    measured(repeats, &mut || {
        drop(black_box(codec::decode_json(black_box(&text), limits::FRAME_BYTES)));
    });
}

pub(crate) fn ticket_check(repeats: u32) {
    let held = ResumeTicket { session: SessionId(77), secret: [5; 16] };
    let shown = held.to_bytes();
    measured(repeats, &mut || {
        let ticket = ResumeTicket::from_bytes(black_box(&shown));
        black_box(ticket.is_some_and(|ticket| ticket.proves(&held)));
    });
}

const NOW_MS: u64 = 1_900_000_000_000;

#[derive(serde::Serialize)]
struct Claims {
    sub: &'static str,
    exp: u64,
    channels: [&'static str; 2],
}

pub(crate) fn jwt_check(repeats: u32) {
    let secret = [7; 32];
    let key = AuthKey { kid: None, algorithm: KeyAlgorithm::Hs256, material: secret.to_vec() };
    let Ok(auth) = Authenticator::new(AuthConfig::new(vec![key])) else { return };
    let claims = Claims { sub: "alice", exp: NOW_MS / 1000 + 60, channels: ["room:*", "dm:*"] };
    let token =
        jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(&secret));
    let token = token.unwrap_or_default();
    assert!(auth.check(&token, NOW_MS).is_ok(), "the token of the benchmark is good");
    measured(repeats, &mut || drop(black_box(auth.check(black_box(&token), NOW_MS))));
}
