//! What the tests of all dialects share.

use anyhow::Result;

use super::{Dialect, Event, Message};

fn words(event: &Event<'_>) -> String {
    match event {
        Event::Ready => "ready".to_owned(),
        Event::Named(name) => format!("named {name}"),
        Event::Subscribed => "subscribed".to_owned(),
        Event::Acked => "acked".to_owned(),
        Event::Delivered(payload) => format!("delivered {}", String::from_utf8_lossy(payload)),
        Event::Refused(why) => format!("refused {why}"),
        Event::Answer(Message::Binary(bytes)) => {
            format!("answer {}", String::from_utf8_lossy(bytes))
        }
        Event::Answer(Message::Text(text)) => format!("answer {text}"),
        // What only our own protocol has.
        other => format!("{other:?}"),
    }
}

/// What a client makes of what comes, piece by piece.
pub(super) fn all(dialect: &dyn Dialect, pieces: &[&[u8]]) -> Result<Vec<String>> {
    let mut reader = dialect.reader(false);
    let mut seen = Vec::new();
    for piece in pieces {
        reader.read(piece, &mut |event| seen.push(words(&event)))?;
    }
    Ok(seen)
}

/// Whole, torn in two at every byte, and byte by byte: the same events every time.
pub(super) fn torn_everywhere(dialect: &dyn Dialect, bytes: &[u8], expected: &[&str]) {
    for at in 0..=bytes.len() {
        let (first, second) = bytes.split_at(at);
        let seen = all(dialect, &[first, second]);
        assert_eq!(seen.unwrap(), expected, "torn at {at}");
    }
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(all(dialect, &pieces).unwrap(), expected, "byte by byte");
}
