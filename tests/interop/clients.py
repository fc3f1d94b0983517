"""Two independent clients with one face: frames out, frames in, and why it was closed."""

import asyncio
import ssl

import websockets
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated, DatagramFrameReceived, HandshakeCompleted, StreamDataReceived)

import wire

PATIENCE_SECS = 20


class Closed(Exception):
    """The node closed the connection."""

    def __init__(self, code, reason):
        super().__init__(f"closed {code} {reason}")
        self.code = code


class Client:
    """What both transports share: waiting for a certain frame while others arrive."""

    def __init__(self):
        self._next_id = 1
        self.pushes = []

    async def open(self, token, client_id, *subscriptions):
        await self.send(wire.hello(token, client_id, *subscriptions))
        welcome = await self.reply(1)
        assert welcome.HasField("welcome"), welcome
        return welcome.welcome

    async def ask(self, **verb):
        self._next_id += 1
        number = self._next_id
        await self.send(wire.command(number, **verb))
        return await self.reply(number)

    async def reply(self, number):
        """The reply with this id; pushes that come before it are kept."""
        while True:
            frame = await self._frame()
            if frame.HasField("reply") and frame.reply.id == number:
                return frame.reply
            self.pushes.append(frame)

    async def publication(self, channel):
        """The next publication of a channel."""
        while True:
            for at, frame in enumerate(self.pushes):
                publication = frame.push.publication
                if frame.push.HasField("publication") and publication.channel == channel:
                    del self.pushes[at]
                    return publication
            self.pushes.append(await self._frame())

    async def closed(self):
        """The code with which the node closes; fails when it stays open."""
        while True:
            try:
                await self._frame()
            except Closed as closed:
                return closed.code

    async def _frame(self):
        return await asyncio.wait_for(self.receive(), PATIENCE_SECS)

    async def send(self, frame):
        raise NotImplementedError

    async def receive(self):
        raise NotImplementedError


class Wss(Client):
    """The `websockets` package."""

    def __init__(self, node, subprotocol):
        super().__init__()
        self._node = node
        self._subprotocol = subprotocol
        self._socket = None
        self._frames = wire.Frames()
        self._waiting = []

    async def __aenter__(self):
        context = ssl.create_default_context(cafile=self._node.ca)
        self._socket = await websockets.connect(
            f"wss://{self._node.host}:{self._node.port}{wire.WEBSOCKET_PATH}", ssl=context,
            subprotocols=[self._subprotocol], max_size=2**20, compression=None)
        return self

    async def __aexit__(self, *_):
        await self._socket.close()

    async def send(self, frame):
        if self._subprotocol == wire.SUBPROTOCOL_JSON:
            await self._socket.send(wire.to_json(frame))
        else:
            await self._socket.send(wire.delimited(frame))

    async def send_raw(self, message):
        await self._socket.send(message)

    async def receive(self):
        while not self._waiting:
            try:
                message = await self._socket.recv()
            except websockets.ConnectionClosed as closed:
                received = closed.rcvd
                raise Closed(received and received.code, received and received.reason) from closed
            if self._subprotocol == wire.SUBPROTOCOL_JSON:
                assert isinstance(message, str)
                self._waiting.append(wire.from_json(message))
            else:
                assert isinstance(message, bytes)
                self._waiting.extend(self._frames.feed(message))
        return self._waiting.pop(0)


class QuicProtocol(QuicConnectionProtocol):
    """Collects frames of all streams and datagrams."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.arrived = asyncio.Queue(maxsize=10_000)
        self.alpn = None
        self._streams = {}

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.alpn = event.alpn_protocol
        elif isinstance(event, StreamDataReceived):
            self._on_stream(event.stream_id, event.data)
        elif isinstance(event, DatagramFrameReceived):
            self.arrived.put_nowait(wire.pb.Frame.FromString(event.data))
        elif isinstance(event, ConnectionTerminated):
            self.arrived.put_nowait(Closed(event.error_code, event.reason_phrase))

    def _on_stream(self, stream, data):
        is_lane = stream & 0x2
        if stream not in self._streams:
            self._streams[stream] = wire.Frames()
            if is_lane and data:
                assert data[0] == wire.LANE_STREAM, data
                data = data[1:]
        for frame in self._streams[stream].feed(data):
            self.arrived.put_nowait(frame)


class Quic(Client):
    """aioquic, on raw QUIC."""

    def __init__(self, node):
        super().__init__()
        self._node = node
        self._connecting = None
        self.protocol = None
        self._control = None
        self._lane = None

    async def __aenter__(self):
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=[wire.ALPN], max_datagram_frame_size=65_536,
            server_name="localhost")
        configuration.load_verify_locations(self._node.ca)
        self._connecting = connect(
            self._node.host, self._node.port, configuration=configuration,
            create_protocol=QuicProtocol)
        self.protocol = await self._connecting.__aenter__()
        assert self.protocol.alpn == wire.ALPN
        return self

    async def __aexit__(self, *arguments):
        self.protocol.close(error_code=wire.CLOSE_NORMAL)
        await self._connecting.__aexit__(*arguments)

    async def send(self, frame):
        await self.send_raw(wire.delimited(frame))

    async def send_raw(self, data):
        if self._control is None:
            self._control = self.protocol._quic.get_next_available_stream_id()
        self._transmit(self._control, data)

    async def send_on_lane(self, frame):
        """On a unidirectional stream, marked by its first byte."""
        data = wire.delimited(frame)
        if self._lane is None:
            self._lane = self.protocol._quic.get_next_available_stream_id(is_unidirectional=True)
            data = bytes([wire.LANE_STREAM]) + data
        self._transmit(self._lane, data)

    async def ask_on_bulk_stream(self, frame):
        """On a stream of its own, which also brings the answer."""
        stream = self.protocol._quic.get_next_available_stream_id()
        self.protocol._quic.send_stream_data(stream, wire.delimited(frame), end_stream=True)
        self.protocol.transmit()
        return await self.reply(frame.command.id)

    def send_datagram(self, frame):
        self.protocol._quic.send_datagram_frame(frame.SerializeToString())
        self.protocol.transmit()

    def _transmit(self, stream, data):
        self.protocol._quic.send_stream_data(stream, data)
        self.protocol.transmit()

    async def receive(self):
        arrived = await self.protocol.arrived.get()
        if isinstance(arrived, Closed):
            raise arrived
        return arrived
