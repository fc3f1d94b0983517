"""Frames of the wire, in the two encodings, written from client.proto alone."""

from google.protobuf import json_format
from sterna.v1 import client_pb2 as pb

SUBPROTOCOL_PROTOBUF = "sterna.v1.protobuf"
SUBPROTOCOL_JSON = "sterna.v1.json"
WEBSOCKET_PATH = "/v1/connect"
ALPN = "sterna/1"
LANE_STREAM = 0x01

# proto/src/reason.rs
CLOSE_WEBSOCKET_PROTOCOL = 1002
CLOSE_WEBSOCKET_TEXT = 1007
CLOSE_WEBSOCKET_TOO_BIG = 1009
CLOSE_NORMAL = 3000
CLOSE_HELLO_TIMEOUT = 3007
CLOSE_UNAUTHORIZED = 3500
CLOSE_PROTOCOL_ERROR = 3501
CLOSE_FRAME_TOO_LARGE = 3502


def varint(value):
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def delimited(frame):
    body = frame.SerializeToString()
    return varint(len(body)) + body


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self):
        self._buffer = bytearray()

    def feed(self, data):
        self._buffer += data
        found = []
        while True:
            frame = self._next()
            if frame is None:
                return found
            found.append(frame)

    def _next(self):
        length, shift, at = 0, 0, 0
        while True:
            if at >= len(self._buffer):
                return None
            byte = self._buffer[at]
            length |= (byte & 0x7F) << shift
            shift += 7
            at += 1
            if not byte & 0x80:
                break
        if len(self._buffer) < at + length:
            return None
        body = bytes(self._buffer[at:at + length])
        del self._buffer[:at + length]
        return pb.Frame.FromString(body)


def to_json(frame):
    return json_format.MessageToJson(frame, indent=None)


def from_json(text):
    return json_format.Parse(text, pb.Frame())


def command(number, **verb):
    return pb.Frame(command=pb.Command(id=number, **verb))


def hello(token, client_id, *subscriptions):
    return command(1, hello=pb.Hello(
        access_token=token, client_id=client_id, user_agent="interop",
        subscriptions=subscriptions))


def publish(number, channel, payload, client_seq):
    return command(number, publish=pb.Publish(
        channel=channel, payload=payload, client_seq=client_seq))
