//! What an intent says: there is something new in this channel. Who its members are is looked up when
//! it is carried out, so that it is as small for five hundred as for two.

use bytes::Bytes;
use sterna_proto::ChannelKey;

/// Of the form below. Another release may write another one.
const VERSION: u8 = 1;

/// The payload of a channel's intents.
pub(crate) fn encode(channel: ChannelKey) -> Bytes {
    let mut payload = [VERSION; 17];
    payload[1..].copy_from_slice(&channel.0);
    Bytes::copy_from_slice(&payload)
}

/// The channel; `None` for what another release has written, or nobody.
pub(crate) fn decode(payload: &[u8]) -> Option<ChannelKey> {
    match payload {
        [VERSION, channel @ ..] => channel.try_into().ok().map(ChannelKey),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_fuzz::check;
    use sterna_proto::ChannelId;

    #[test]
    fn an_intent_names_its_channel_and_nonsense_none() {
        let key = ChannelId::new("room:1").unwrap().key();
        let payload = encode(key);
        assert_eq!(decode(&payload), Some(key));
        for bad in [&b""[..], &payload[1..], &payload[..16], &[2; 17]] {
            assert_eq!(decode(bad), None);
        }
    }

    #[test]
    fn fuzz_intent_payload() {
        check!("intent_payload", |bytes: &[u8]| {
            if let Some(channel) = decode(bytes) {
                assert_eq!(encode(channel), bytes, "one intent has one form");
            }
        });
    }
}
