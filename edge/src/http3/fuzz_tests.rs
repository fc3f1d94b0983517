//! Fuzz targets of HTTP/3: whatever comes on a stream, in whatever pieces.

use sterna_fuzz::{Script, check};

use super::requests::Verdict;
use super::*;

/// Any request stream in any pieces is heard as in one, and whatever it asks for has an answer.
#[test]
fn fuzz_http3_request() {
    check!("http3_request", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let size = usize::from(script.byte()).max(1);
        let stream = script.rest();
        let whole = hear(stream, stream.len().max(1));
        assert_eq!(hear(stream, size), whole, "in pieces of {size}");
        let allowed = ["https://app.example.com".to_owned()];
        for heard in whole.iter().flatten() {
            let Heard::Request(request) = heard else { continue };
            assert!(request.path.is_ascii() && !request.path.contains('?'));
            match decide(request, &allowed, Some("x-tenant")) {
                Verdict::Session { answer, .. } => {
                    assert_eq!(request.path, "/v1/connect");
                    let origins = request.values("origin");
                    assert!(
                        origins
                            .into_iter()
                            .all(|it| it.eq_ignore_ascii_case(allowed[0].as_bytes()))
                    );
                    assert_eq!(answer[0], 1, "HEADERS");
                }
                Verdict::Answer { status, answer } => {
                    assert!(status.as_u16() >= 200 && answer[0] == 1);
                }
            }
        }
    });
}

/// What is heard up to the first violation, which comes last.
fn hear(stream: &[u8], size: usize) -> Vec<Result<Heard, Violation>> {
    let mut parsed = RequestStream::default();
    let mut heard = Vec::new();
    for mut piece in stream.chunks(size) {
        while !piece.is_empty() {
            match parsed.read(&mut piece) {
                // Nobody listens any more behind these.
                Ok(Some(last @ (Heard::TooLarge | Heard::Malformed | Heard::Closed))) => {
                    heard.push(Ok(last));
                    return heard;
                }
                Ok(Some(request)) => heard.push(Ok(request)),
                Ok(None) => assert!(piece.is_empty()),
                Err(violation) => {
                    heard.push(Err(violation));
                    return heard;
                }
            }
        }
    }
    heard
}

/// A client's unidirectional stream: its head, and behind it settings or instructions.
#[test]
fn fuzz_http3_control() {
    check!("http3_control", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let size = usize::from(script.byte()).max(1);
        let stream = script.rest();
        let mut head = StreamHead::default();
        let mut left = stream;
        let known = loop {
            match (head.uni(), left.split_first()) {
                (Ok(None), Some((octet, rest))) => {
                    head.push(*octet);
                    left = rest;
                }
                (known, _) => break known,
            }
        };
        assert!(head.as_slice().len() <= 16);
        match known {
            Ok(Some(UniHead::Control)) => {
                assert_eq!(control(left, size), control(left, usize::MAX))
            }
            Ok(Some(UniHead::OfSession(id))) => assert_eq!(id % 4, 0),
            Ok(Some(UniHead::QpackEncoder)) => {
                assert_eq!(check_encoder(left).is_ok(), left.iter().all(|octet| *octet == 0x20));
            }
            _ => {}
        }
    });
}

fn control(stream: &[u8], size: usize) -> Result<Option<Settings>, Violation> {
    let mut control = Control::default();
    stream.chunks(size).try_fold(None, |known, piece| Ok(control.read(piece)?.or(known)))
}
