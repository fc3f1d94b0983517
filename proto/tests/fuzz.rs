//! Fuzz targets of the wire: whatever bytes or text a peer sends, reading ends in a frame or in an
//! error, a frame survives its own encoding, and the way a stream was torn makes no difference.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use sterna_fuzz::{Script, check};
use sterna_proto::{
    ChannelId, ClientId, DecodeError, FrameDecoder, NodeId, Position, UserId, codec, limits, v1,
};

/// The first byte says how the rest, a stream, is torn.
#[test]
fn fuzz_frame_decode() {
    check!("frame_decode", |bytes: &[u8]| {
        let Some((torn, stream)) = bytes.split_first() else { return };
        let whole = read(stream, stream.len().max(1));
        assert_eq!(read(stream, usize::from(*torn) + 1), whole, "in pieces of {torn} and one");
        let (frames, _) = &whole;
        let encoded: Vec<u8> = frames.iter().flat_map(codec::encode_to_bytes).collect();
        assert_eq!(read(&encoded, encoded.len().max(1)), (frames.clone(), Ok(())));
    });
}

/// The frames of a stream that comes in pieces, and how it ends.
fn read(stream: &[u8], piece: usize) -> (Vec<v1::Frame>, Result<(), DecodeError>) {
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut frames = Vec::new();
    for bytes in stream.chunks(piece) {
        decoder.extend(bytes);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, decoder.finish())
}

const LIMIT: usize = 1024;

/// Torn at every place: a cut anywhere gives the frames before it and no others.
#[test]
fn fuzz_frame_torn() {
    check!("frame_torn", |stream: &[u8]| {
        let stream = &stream[..stream.len().min(200)];
        let (whole, _) = read(stream, stream.len().max(1));
        for cut in 0..=stream.len() {
            let mut decoder = FrameDecoder::new(LIMIT);
            let mut frames = Vec::new();
            let mut broken = false;
            for part in [&stream[..cut], &stream[cut..]] {
                decoder.extend(part);
                while !broken {
                    match decoder.next() {
                        Ok(Some(frame)) => frames.push(frame),
                        Ok(None) => break,
                        Err(_) => broken = true,
                    }
                }
            }
            assert_eq!(frames, whole, "cut at {cut}");
        }
    });
}

#[test]
fn fuzz_datagram() {
    check!("datagram", |bytes: &[u8]| {
        let Ok(frame) = codec::decode_datagram(Bytes::copy_from_slice(bytes)) else { return };
        assert!(frame.body.is_some());
        let encoded = codec::encode_datagram(&frame);
        assert_eq!(encoded.len(), codec::encoded_len(&frame));
        assert_eq!(codec::decode_datagram(encoded).unwrap(), frame);
        let json = codec::encode_json(&frame);
        match codec::decode_json(&json, json.len()) {
            Ok(again) => assert_eq!(again, frame),
            // A number without a name can be written and not be read: it is of a newer version.
            Err(error) => assert!(error.to_string().contains("invalid value: integer"), "{error}"),
        }
    });
}

#[test]
fn fuzz_json_frame() {
    check!("json_frame", |bytes: &[u8]| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Ok(frame) = codec::decode_json(text, limits::FRAME_BYTES) else { return };
        let json = codec::encode_json(&frame);
        assert_eq!(codec::decode_json(&json, limits::FRAME_BYTES), Ok(frame.clone()));
        let encoded = codec::encode_datagram(&frame);
        assert_eq!(codec::decode_datagram(encoded), Ok(frame));
    });
}

/// Ids and positions as text: what is taken says itself again, and nothing else.
#[test]
fn fuzz_ids() {
    check!("ids", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let other = script.bytes(80);
        let (Ok(other), Ok(text)) =
            (std::str::from_utf8(other), std::str::from_utf8(script.rest()))
        else {
            return;
        };
        if let Ok(channel) = ChannelId::new(text) {
            assert!(channel.as_str() == text && text.len() <= limits::CHANNEL_BYTES);
            assert!(channel.key().slot() < sterna_proto::id::SLOTS);
            if let Ok(Some((low, high))) = channel.direct_users() {
                assert_eq!(ChannelId::direct(&high, &low).unwrap(), channel);
            }
        }
        if let Ok(position) = text.parse::<Position>() {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        assert!(NodeId::new(text).map_or(true, |node| node.to_string() == text));
        if let (Ok(user), Ok(client)) = (UserId::new(text), ClientId::new(other)) {
            assert!(!user.as_str().contains(':'));
            assert!(ClientId::new(client.of_user(&user).as_str()).is_ok());
        }
    });
}
