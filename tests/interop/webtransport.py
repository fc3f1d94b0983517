"""aioquic, on WebTransport. It announces draft 02 alone."""

import asyncio

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import (
    DataReceived, DatagramReceived, HeadersReceived, WebTransportStreamDataReceived)
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived

import wire
from clients import PATIENCE_SECS, Client, Closed, Streams

CLOSE_SESSION = 0x2843


class Http3Protocol(QuicConnectionProtocol):
    """Tells streams of the session, which bring frames, from requests, which bring answers."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http = H3Connection(self._quic, enable_webtransport=True)
        self.streams = Streams()
        # Of bidirectional streams that we have opened, the other half has no head of its own.
        self.own = set()
        self.answers = asyncio.Queue(maxsize=100)
        self.data = {}

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and event.stream_id in self.own:
            self.streams.feed(event.stream_id, event.data)
            return
        if isinstance(event, ConnectionTerminated):
            self.streams.end(Closed(event.error_code, event.reason_phrase))
        for told in self.http.handle_event(event):
            self._http_event(told)

    def _http_event(self, event):
        if isinstance(event, HeadersReceived):
            self.answers.put_nowait(dict(event.headers))
        elif isinstance(event, WebTransportStreamDataReceived):
            self.streams.feed(event.stream_id, event.data)
        elif isinstance(event, DatagramReceived):
            self.streams.datagram(event.data)
        elif isinstance(event, DataReceived):
            data = self.data.get(event.stream_id, b"") + event.data
            self.data[event.stream_id] = data
            if data.startswith((0x4000 | CLOSE_SESSION).to_bytes(2, "big")):
                # A capsule of less than 64 octets: code and reason.
                self.streams.end(Closed(int.from_bytes(data[3:7], "big"), data[7:].decode()))


class WebTransport(Client):
    def __init__(self, node, origin=None, path=wire.WEBSOCKET_PATH, protocols=None):
        super().__init__()
        self._node = node
        self._path = path
        self._further = [(b"sec-webtransport-http3-draft02", b"1")]
        if origin is not None:
            self._further.append((b"origin", origin.encode()))
        if protocols is not None:
            self._further.append((b"wt-available-protocols", protocols.encode()))
        self._connecting = None
        self.protocol = None
        self.session = None
        self._control = None
        self._lane = None
        self.answer = None

    async def __aenter__(self):
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=H3_ALPN, max_datagram_frame_size=65_536,
            server_name="localhost")
        configuration.load_verify_locations(self._node.ca)
        self._connecting = connect(
            self._node.host, self._node.port, configuration=configuration,
            create_protocol=Http3Protocol)
        self.protocol = await self._connecting.__aenter__()
        assert self.protocol._quic.tls.alpn_negotiated == "h3"
        self.session = self.protocol._quic.get_next_available_stream_id()
        protocol = (b":protocol", b"webtransport")
        self.answer = await self._request(
            self.session, "CONNECT", self._path, [protocol, *self._further])
        return self

    async def __aexit__(self, *arguments):
        self.protocol.close(error_code=0x100)
        await self._connecting.__aexit__(*arguments)

    async def get(self, path):
        """The answer to a plain request on the same connection."""
        stream = self.protocol._quic.get_next_available_stream_id()
        return await self._request(stream, "GET", path, [])

    async def _request(self, stream, method, path, further):
        target = [(b":method", method.encode()), (b":scheme", b"https"),
                  (b":authority", b"localhost"), (b":path", path.encode())]
        self.protocol.http.send_headers(stream, target + further, end_stream=method == "GET")
        self.protocol.transmit()
        return await asyncio.wait_for(self.protocol.answers.get(), PATIENCE_SECS)

    async def rebind(self, host):
        """A NAT gives the connection another address; QUIC is not told."""
        protocol = self.protocol

        class Forwarding(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                protocol.datagram_received(data, addr)

        loop = asyncio.get_running_loop()
        old = protocol._transport
        transport, _ = await loop.create_datagram_endpoint(
            Forwarding, local_addr=(f"::ffff:{host}", 0))
        protocol._transport = transport
        old.close()

    async def send(self, frame):
        await self.send_raw(wire.delimited(frame))

    async def send_raw(self, data):
        if self._control is None:
            self._control = self._open()
        self._transmit(self._control, data)

    async def send_on_lane(self, frame):
        data = wire.delimited(frame)
        if self._lane is None:
            self._lane = self.protocol.http.create_webtransport_stream(
                self.session, is_unidirectional=True)
            data = bytes([wire.LANE_STREAM]) + data
        self._transmit(self._lane, data)

    async def ask_on_bulk_stream(self, frame):
        stream = self._open()
        self.protocol._quic.send_stream_data(stream, wire.delimited(frame), end_stream=True)
        self.protocol.transmit()
        return await self.reply(frame.command.id)

    def send_datagram(self, frame):
        self.protocol.http.send_datagram(self.session, frame.SerializeToString())
        self.protocol.transmit()

    def _open(self):
        stream = self.protocol.http.create_webtransport_stream(self.session)
        self.protocol.own.add(stream)
        return stream

    def _transmit(self, stream, data):
        self.protocol._quic.send_stream_data(stream, data)
        self.protocol.transmit()

    async def receive(self):
        return await self.protocol.streams.next()
