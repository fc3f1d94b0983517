"""Independent clients with one face: frames out, frames in, and why it was closed."""

import asyncio
import os
import ssl
import struct

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

    def write_frame(self, first_octet, payload):
        """A WebSocket frame as it is told, right or wrong; masked with zeros."""
        header = struct.pack(">BBQI", first_octet, 0xFF, len(payload), 0)
        self._socket.transport.write(header + payload)

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
        self.streams = Streams()
        self.alpn = None
        self.resumed = False
        self.early = False
        self.blackhole = False

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.alpn = event.alpn_protocol
            self.resumed = event.session_resumed
            self.early = event.early_data_accepted
        elif isinstance(event, StreamDataReceived):
            self.streams.feed(event.stream_id, event.data)
        elif isinstance(event, DatagramFrameReceived):
            self.streams.datagram(event.data)
        elif isinstance(event, ConnectionTerminated):
            self.streams.end(Closed(event.error_code, event.reason_phrase))

    def datagram_received(self, data, addr):
        if not self.blackhole:
            super().datagram_received(data, addr)

    def use(self, transport):
        """From here on this socket stands for the connection."""
        self._transport = transport

    def transmit(self):
        if self.blackhole:
            # What would have been sent is lost.
            self._quic.datagrams_to_send(now=self._loop.time())
        super().transmit()


class Streams:
    """Cuts what arrives on streams into frames."""

    def __init__(self):
        self.arrived = asyncio.Queue(maxsize=10_000)
        self._frames = {}

    def feed(self, stream, data):
        is_lane = stream & 0x2
        if stream not in self._frames:
            self._frames[stream] = wire.Frames()
            if is_lane and data:
                assert data[0] == wire.LANE_STREAM, data
                data = data[1:]
        for frame in self._frames[stream].feed(data):
            self.arrived.put_nowait(frame)

    def datagram(self, data):
        self.arrived.put_nowait(wire.pb.Frame.FromString(data))

    def end(self, closed):
        self.arrived.put_nowait(closed)

    async def next(self):
        arrived = await self.arrived.get()
        if isinstance(arrived, Closed):
            raise arrived
        return arrived


class Quic(Client):
    """aioquic, on raw QUIC."""

    def __init__(self, node, ticket=None):
        super().__init__()
        self._node = node
        self._ticket = ticket
        self._connecting = None
        self._moved = []
        self.protocol = None
        self._control = None
        self._lane = None
        self.tickets = []

    def configuration(self):
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=[wire.ALPN], max_datagram_frame_size=65_536,
            server_name="localhost", session_ticket=self._ticket)
        configuration.load_verify_locations(self._node.ca)
        return configuration

    def create(self, quic, **options):
        return QuicProtocol(quic, **options)

    async def __aenter__(self):
        await self.connect(wait=True)
        assert self.protocol.alpn == wire.ALPN
        return self

    async def connect(self, wait):
        self._connecting = connect(
            self._node.host, self._node.port, configuration=self.configuration(),
            create_protocol=self.create, session_ticket_handler=self.tickets.append,
            wait_connected=wait)
        self.protocol = await self._connecting.__aenter__()

    async def __aexit__(self, *arguments):
        self.protocol.close(error_code=wire.CLOSE_NORMAL)
        await self._connecting.__aexit__(*arguments)
        for transport in self._moved:
            transport.close()

    async def session(self):
        """What a later connection can go on from."""
        while not self.tickets:
            await self.ask(ping=pb.Ping())
        return self.tickets[0]

    @property
    def resumed(self):
        return self.protocol.resumed

    @property
    def retries(self):
        return self.protocol._quic._retry_count

    async def rebind(self, host):
        """A NAT gives the connection another port or address; QUIC is not told."""
        protocol = self.protocol

        class Forwarding(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                protocol.datagram_received(data, addr)

        loop = asyncio.get_running_loop()
        old = protocol._transport
        transport, _ = await loop.create_datagram_endpoint(
            Forwarding, local_addr=(f"::ffff:{host}", 0))
        protocol.use(transport)
        self._moved.append(transport)
        old.close()

    async def migrate(self, host):
        """The client itself moves, with a fresh connection id."""
        self.protocol._quic.change_connection_id()
        await self.rebind(host)

    async def blackhole(self, on):
        self.protocol.blackhole = on
        self.protocol.transmit()

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
        return await self.protocol.streams.next()


class Quiche(Client):
    """quiche, on raw QUIC, as a process (quiche/src/main.rs)."""

    def __init__(self, node, ticket=None, first=None):
        """`first`: a frame that goes out early where the ticket allows it."""
        super().__init__()
        self._node = node
        self._ticket = ticket
        self._first = wire.delimited(first).hex() if first else "-"
        self._child = None
        self._reading = None
        self._streams = Streams()
        self._connected = asyncio.get_running_loop().create_future()
        self._session = asyncio.get_running_loop().create_future()
        self._lane_open = False
        self._next_stream = 4
        self.first = []
        self.resumed = False
        self.early = False
        self.retries = 0
        self.paths = []

    async def start(self):
        self._child = await asyncio.create_subprocess_exec(
            os.environ["QUICHE_BIN"], f"{self._node.host}:{self._node.port}", self._node.ca,
            self._ticket or "-", self._first, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            limit=2**20)
        self._reading = asyncio.create_task(self._read())

    async def __aenter__(self):
        await self.start()
        await asyncio.wait_for(self._connected, PATIENCE_SECS)
        return self

    async def __aexit__(self, *_):
        if self._child.returncode is None:
            try:
                await self._say(f"close {wire.CLOSE_NORMAL}")
                self._child.stdin.close()
                await asyncio.wait_for(self._child.wait(), PATIENCE_SECS)
            except (ConnectionError, asyncio.TimeoutError):
                self._child.kill()
                await self._child.wait()
        await self._reading

    async def stop(self):
        """Without a word to the node."""
        self._child.kill()
        await self._child.wait()
        await self._reading

    async def _read(self):
        while line := (await self._child.stdout.readline()).decode().split():
            match line:
                case ["first", data]:
                    self.first.append(bytes.fromhex(data))
                case ["connected", *facts]:
                    facts = dict(fact.split("=") for fact in facts)
                    self.resumed, self.early = facts["resumed"] == "true", facts["early"] == "true"
                    self.retries = int(facts["retries"])
                    self._connected.set_result(None)
                case ["session", data]:
                    self._session.set_result(data)
                case ["stream", stream, data]:
                    self._streams.feed(int(stream), bytes.fromhex(data))
                case ["datagram", data]:
                    self._streams.datagram(bytes.fromhex(data))
                case ["path", event]:
                    self.paths.append(event)
                case ["closed", code]:
                    self._streams.end(Closed(int(code) if code.isdigit() else code, ""))

    async def _say(self, line):
        self._child.stdin.write(line.encode() + b"\n")
        await self._child.stdin.drain()

    async def session(self):
        return await asyncio.wait_for(self._session, PATIENCE_SECS)

    async def rebind(self, host):
        await self._say(f"rebind {host}")

    async def migrate(self, host):
        await self._say(f"migrate {host}")

    async def blackhole(self, on):
        await self._say(f"blackhole {'on' if on else 'off'}")

    async def send(self, frame):
        await self.send_raw(wire.delimited(frame))

    async def send_raw(self, data):
        await self._say(f"stream 0 {data.hex()}")

    async def send_on_lane(self, frame):
        mark = b"" if self._lane_open else bytes([wire.LANE_STREAM])
        self._lane_open = True
        await self._say(f"stream 2 {(mark + wire.delimited(frame)).hex()}")

    async def ask_on_bulk_stream(self, frame):
        await self._say(f"finish {self._next_stream} {wire.delimited(frame).hex()}")
        self._next_stream += 4
        return await self.reply(frame.command.id)

    async def receive(self):
        return await self._streams.next()
