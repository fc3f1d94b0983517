"""What breaks QUIC itself (RFC 9000), below any frame of ours, ends that connection with the code
for it. What only costs the node something is bounded. Nobody else notices either."""

import asyncio
import os

from aioquic.buffer import encode_uint_var as number
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch

import wire
from cases_hostile import _bystander
from clients import Quic
from wire import pb

FLOW_CONTROL_ERROR = 0x3
STREAM_LIMIT_ERROR = 0x4
STREAM_STATE_ERROR = 0x5
FINAL_SIZE_ERROR = 0x6
FRAME_ENCODING_ERROR = 0x7
TRANSPORT_PARAMETER_ERROR = 0x8
CONNECTION_ID_LIMIT_ERROR = 0x9
PROTOCOL_VIOLATION = 0xA
CRYPTO_BUFFER_EXCEEDED = 0xD

# Datagrams of a flood, of more bytes than the node may hold on to.
FLOOD = 8_000
MOST_MEMORY_BYTES = 8 << 20
STREAMS = 250
DATAGRAM_BYTES = 1200


class Raw(Quic):
    """Says anything at all to the node, in datagrams that are right."""

    def inject(self, frames, epoch=Epoch.ONE_RTT, kind=QuicPacketType.ONE_RTT):
        quic = self.protocol._quic
        builder = QuicPacketBuilder(
            host_cid=quic.host_cid, peer_cid=quic._peer_cid.cid, version=quic._version,
            is_client=True, max_datagram_size=DATAGRAM_BYTES, packet_number=quic._packet_number,
            peer_token=quic._peer_token)
        builder.start_packet(kind, quic._cryptos[epoch])
        builder._buffer.push_bytes(frames)
        builder._packet.is_ack_eliciting = True
        datagrams, _ = builder.flush()
        quic._packet_number = builder.packet_number
        for datagram in datagrams:
            self.protocol._transport.sendto(datagram, quic._network_paths[0].addr)

    async def flood(self, frames):
        """Sends what `frames` makes of each number, slowly enough that the kernel loses little."""
        for at in range(FLOOD):
            if self.is_closed():
                return
            self.inject(frames(at))
            if at % 16 == 15:
                await asyncio.sleep(0.001)

    async def connect(self, wait):
        await super().connect(wait)
        # That the node has given up an id, of which aioquic may know nothing.
        self.protocol._quic._QuicConnection__frame_handlers[0x19] = (
            lambda _context, _kind, buffer: buffer.pull_uint_var(), {Epoch.ONE_RTT})

    def is_closed(self):
        return self.protocol._quic._close_event is not None

    async def still_answers(self):
        """Whatever it has done, it is a client like others."""
        pong = await self.ask(ping=pb.Ping(client_time_ms=9))
        assert pong.pong.client_time_ms == 9


def memory_bytes(node):
    """What the node takes of the machine's memory."""
    with open(f"/proc/{node._child.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grown(node, before):
    """By how much the node's memory has grown is within the bound."""
    more = memory_bytes(node) - before
    assert more < MOST_MEMORY_BYTES, f"{more} bytes more than before"


def stream(number_of, offset, data):
    """A STREAM frame that says its offset and its length."""
    return b"\x0e" + number(number_of) + number(offset) + number(len(data)) + data


def crypto(offset, data):
    return b"\x06" + number(offset) + number(len(data)) + data


def new_connection_id(sequence, retired, cid=b"mallory."):
    return b"\x18" + number(sequence) + number(retired) + b"\x08" + cid + bytes(16)


# Frames that no client may send, each with the codes that say so.
VIOLATIONS = {
    "data beyond the window": (stream(0, 2**40, b"x"), {FLOW_CONTROL_ERROR}),
    "data beyond the largest offset": (stream(0, 2**62 - 1, b"x"),
                                       {FLOW_CONTROL_ERROR, FRAME_ENCODING_ERROR}),
    "a stream beyond the limit": (stream(4 * 2**40, 0, b"x"), {STREAM_LIMIT_ERROR}),
    "data on a stream of the node's": (stream(1, 0, b"x"), {STREAM_STATE_ERROR}),
    "a reset of a stream of the node's": (b"\x04" + number(3) + number(0) + number(0),
                                          {STREAM_STATE_ERROR}),
    "a reset beyond the window": (b"\x04" + number(0) + number(0) + number(2**40),
                                  {FLOW_CONTROL_ERROR, FINAL_SIZE_ERROR}),
    "a stream that ends before its data": (
        stream(8, 10, b"x") + b"\x04" + number(8) + number(0) + number(3), {FINAL_SIZE_ERROR}),
    "more streams than there are": (b"\x12" + number(2**60 + 1), {FRAME_ENCODING_ERROR}),
    "blocked by more streams than there are": (
        b"\x16" + number(2**60 + 1), {FRAME_ENCODING_ERROR, STREAM_LIMIT_ERROR}),
    "room on a stream that nobody has": (b"\x11" + number(1 + 4 * 2**40) + number(9),
                                         {STREAM_STATE_ERROR}),
    "an acknowledgement of what was not sent": (b"\x02" + number(2**40) + b"\0\0\0",
                                                {PROTOCOL_VIOLATION}),
    "the node's own frames": (b"\x1e", {PROTOCOL_VIOLATION}),
    "a token for a node": (b"\x07\x01x", {PROTOCOL_VIOLATION}),
    "a frame that there is not": (b"\x21", {FRAME_ENCODING_ERROR}),
    "a frame that is cut": (b"\x06\x00\x44", {FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION}),
    "a connection id that is retired and new": (b"\x18\x01\x02\x08" + bytes(24),
                                                {FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION}),
    "a connection id without octets": (b"\x18\x01\x00\x00" + bytes(16),
                                       {FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION}),
    "an id that the node never gave": (b"\x19" + number(2**30), {PROTOCOL_VIOLATION}),
    "more ids than the node takes": (
        # aioquic has given five by then.
        b"".join(new_connection_id(6 + at, 0) for at in range(30)), {CONNECTION_ID_LIMIT_ERROR}),
    "a handshake far ahead of itself": (crypto(2**30, b"x"), {CRYPTO_BUFFER_EXCEEDED}),
}


async def test_frames_that_break_quic_close_their_connection(node):
    async with _bystander(node, "quic-frames"):
        token = node.token("mallory")

        async def violate(at, name, frames, codes):
            async with Raw(node) as client:
                await client.open(token, f"mallory-frames-{at}")
                client.inject(frames)
                closed = await client.closed()
                assert closed in codes, f"{name}: {closed:#x}"
        await asyncio.gather(*(
            violate(at, name, *rest) for at, (name, rest) in enumerate(VIOLATIONS.items())))


def parameter(number_of, value):
    return number(number_of) + number(len(value)) + value


class BadParameters(Raw):
    """Sends these transport parameters, behind those that have to be there."""

    def __init__(self, node, parameters, is_whole=True):
        super().__init__(node)
        self._parameters = parameters
        self._is_whole = is_whole

    def create(self, quic, **options):
        def serialize():
            source = parameter(0x0F, quic._local_initial_source_connection_id)
            return (source if self._is_whole else b"") + self._parameters
        quic._serialize_transport_parameters = serialize
        return super().create(quic, **options)


PARAMETERS = {
    "one twice": parameter(0x04, number(9)) * 2,
    "datagrams that are too small": parameter(0x03, number(1199)),
    "an exponent beyond 20": parameter(0x0A, number(21)),
    "a delay of 2^14 ms": parameter(0x0B, number(2**14)),
    "room for one connection id": parameter(0x0E, number(1)),
    "more streams than there are": parameter(0x08, number(2**60 + 1)),
    "a number that is cut": parameter(0x04, b"\xc0"),
    "a number with something behind": parameter(0x04, b"\x01\x01"),
    "a length beyond the end": number(0x04) + number(2**20) + b"\x01",
    "a reset token, which is the node's": parameter(0x02, bytes(16)),
    "an address, which is the node's": parameter(0x0D, bytes(49)),
    "an id of whom it began with, which is the node's": parameter(0x00, bytes(8)),
}


async def test_bad_transport_parameters_end_the_handshake(node):
    async with _bystander(node, "quic-parameters"):
        cases = [(name, BadParameters(node, bad)) for name, bad in PARAMETERS.items()]
        cases.append(("none", BadParameters(node, b"", is_whole=False)))
        cases.append(("another id", BadParameters(
            node, parameter(0x0F, b"somebody"), is_whole=False)))

        async def connect(name, client):
            await client.connect(wait=False)
            client.protocol.transmit()
            closed = await client.closed()
            await client.__aexit__(None, None, None)
            assert closed in {TRANSPORT_PARAMETER_ERROR, PROTOCOL_VIOLATION}, f"{name}: {closed:#x}"
        await asyncio.gather(*(connect(*case) for case in cases))


async def test_a_handshake_in_pieces_that_never_join_costs_no_memory(node):
    async with _bystander(node, "quic-crypto"):
        before = memory_bytes(node)
        for far in (2**20, 2**40):
            client = Raw(node)
            await client.connect(wait=False)
            client.inject(
                crypto(far, b"x" * 900), epoch=Epoch.INITIAL, kind=QuicPacketType.INITIAL)
            closed = await client.closed()
            await client.__aexit__(None, None, None)
            assert closed in {CRYPTO_BUFFER_EXCEEDED, PROTOCOL_VIOLATION}, f"{closed:#x}"
        async with Raw(node) as client:
            await client.open(node.token("mallory"), "mallory-crypto")
            # Within the room for it, and never from the beginning.
            await client.flood(lambda at: crypto(2 + at * 2 % 16_000, b"x") + bytes(1000))
            await client.closed()
        grown(node, before)


async def test_data_in_pieces_that_never_join_costs_no_memory(node):
    async with _bystander(node, "quic-gaps"):
        before = memory_bytes(node)
        async with Raw(node) as client:
            await client.open(node.token("mallory"), "mallory-gaps")
            await client.flood(
                lambda at: stream(4, 2 + at * 2 % 250_000, b"x") + bytes(1000))
            await client.closed()
        grown(node, before)


async def test_streams_that_are_reset_at_once_cost_no_memory(node):
    async with _bystander(node, "quic-resets"):
        before = memory_bytes(node)
        async with Raw(node) as client:
            await client.open(node.token("mallory"), "mallory-resets")

            quic = client.protocol._quic
            for at in range(1, STREAMS):
                # The node makes room for another one when it has heard of the end of one.
                while at >= quic._remote_max_streams_bidi and not client.is_closed():
                    await asyncio.sleep(0.001)
                quic._get_or_create_stream_for_send(4 * at)
                reset = b"\x04" + number(4 * at) + number(0) + number(1)
                client.inject(stream(4 * at, 0, b"x") + reset * 100)
            await client.still_answers()
            grown(node, before)


async def _flood_that_is_no_violation(node, name, frames):
    async with _bystander(node, f"quic-{name}"):
        before = memory_bytes(node)
        async with Raw(node) as client:
            await client.open(node.token("mallory"), f"mallory-{name}")
            await client.flood(frames)
            await client.still_answers()
            grown(node, before)


async def test_a_flood_of_path_challenges_costs_no_memory(node):
    await _flood_that_is_no_violation(
        node, "challenges",
        lambda at: b"".join(b"\x1a" + (at * 100 + n).to_bytes(8, "big") for n in range(100)))


async def test_a_flood_of_ever_new_connection_ids_costs_no_memory(node):
    async with _bystander(node, "quic-ids"):
        before = memory_bytes(node)
        async with Raw(node) as client:
            await client.open(node.token("mallory"), "mallory-ids")
            # All are names of the first one, so that the client hears what the node says.
            cid = client.protocol._quic._host_cids[0].cid
            await client.flood(lambda at: b"".join(
                new_connection_id(100 + at * 20 + n, 100 + at * 20 + n, cid) for n in range(20)))
            await client.closed()
        grown(node, before)


async def test_a_flood_of_words_about_limits_costs_no_memory(node):
    def words(at):
        blocked = b"\x16" + number(2**60) + b"\x17" + number(at) + b"\x14" + number(at)
        room = b"\x12" + number(2**60 - at) + b"\x13" + number(at) + b"\x10" + number(2**62 - 1 - at)
        return (blocked + room) * 20
    await _flood_that_is_no_violation(node, "limits", words)
