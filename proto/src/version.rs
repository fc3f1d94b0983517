//! Protocol names as they are negotiated. A breaking change takes a new name; everything else is
//! a new field that old peers ignore.

/// ALPN of raw QUIC (RFC 7301).
pub const ALPN: &[u8] = b"sterna/1";

/// ALPN of HTTP/3 (RFC 9114), on which browsers ask for WebTransport.
pub const HTTP3_ALPN: &[u8] = b"h3";

/// Name of our protocol within a WebTransport session, for clients that offer names.
pub const WEBTRANSPORT_PROTOCOL: &str = "sterna.1";

/// WebSocket subprotocol (RFC 6455 section 1.9) with binary protobuf messages.
pub const SUBPROTOCOL_PROTOBUF: &str = "sterna.v1.protobuf";

/// WebSocket subprotocol with text messages in canonical protobuf JSON.
pub const SUBPROTOCOL_JSON: &str = "sterna.v1.json";

/// Path of the WebSocket upgrade and of the request for a WebTransport session.
pub const WEBSOCKET_PATH: &str = "/v1/connect";

/// Path of everything over plain HTTP.
pub const HTTP_PATH: &str = "/v1/stream";

/// Header that names the connection that a request belongs to.
pub const HTTP_STREAM_FIELD: &str = "sterna-stream";

/// Header that numbers the requests of a connection, from 1 on.
pub const HTTP_SEQUENCE_FIELD: &str = "sterna-sequence";

/// Media type of bodies whose frames have their length in front.
pub const MEDIA_TYPE_PROTOBUF: &str = "application/protobuf";

/// Media type of bodies in canonical protobuf JSON, one text behind the other.
pub const MEDIA_TYPE_JSON: &str = "application/json";

/// First byte of every unidirectional stream, both ways: what follows are length-delimited frames
/// of one lane.
pub const LANE_STREAM: u8 = 0x01;

/// ALPN of links between nodes.
pub const LINK_ALPN: &[u8] = b"sterna-link/1";

/// Newest version of what nodes say to each other; the one before is understood.
pub const LINK_VERSION: u32 = 1;
