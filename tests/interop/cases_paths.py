"""What two QUIC stacks that share no code with ours do to their connections: move them with and
without a word, cut them off, resume them, ask for 0-RTT, prove an address."""

import asyncio
import os
import socket
import time

import cases_clients
import wire
from aioquic.quic.connection import QuicConnection
from clients import Quic, Quiche, Wss
from node import EagerNode, WaryNode
from wire import pb

# By the name that cases carry; quiche is there when it is built.
STACKS = {"aioquic": Quic}
if os.environ.get("QUICHE_BIN"):
    STACKS["quiche"] = Quiche

PATH_CHANGES = "sterna_edge_path_changes_total"
EARLY_DATA = "sterna_edge_early_data_accepted_total"
BLACKHOLE_SECS = 3
# A server that has heard nothing repeats its first flight several times within this.
SILENCE_SECS = 5
AMPLIFICATION = 3
# RFC 9000 (8.1) allows no byte more. quinn sends one more datagram as long as a byte is left: a
# decision of its makers that we cannot change from outside.
ONE_MORE_DATAGRAM = 1199


def each_stack(case):
    """Makes a test of the case for every stack."""
    for name, stack in STACKS.items():
        async def test(node, name=name, stack=stack):
            await case(node, stack, name)
        globals()[f"test_{case.__name__}_by_{name}"] = test
    return case


class Talk:
    """A client in a room, which must be able to go on whatever happens below it."""

    def __init__(self, node, stack, name, ticket=None):
        self.node = node
        self.channel = f"room:{name}"
        self.client = stack(node, ticket)
        self.name = name
        self.said = 0

    async def __aenter__(self):
        await self.client.__aenter__()
        await self.client.open(
            self.node.token(self.name), f"{self.name}-1", pb.Subscribe(channel=self.channel))
        return self

    async def __aexit__(self, *arguments):
        await self.client.__aexit__(*arguments)

    async def go_on(self):
        for _ in range(3):
            self.said += 1
            published = await self.client.ask(publish=pb.Publish(
                channel=self.channel, payload=str(self.said).encode(), client_seq=self.said))
            assert published.published.offset == self.said, published
            arrived = await self.client.publication(self.channel)
            assert arrived.offset == self.said, arrived


async def _node_sees(node, changes):
    """Waits until the node has seen at least so many changes of a path."""
    deadline = time.monotonic() + 20
    while node.metric(PATH_CHANGES) < changes:
        assert time.monotonic() < deadline, "the node has seen no change of path"
        await asyncio.sleep(0.05)


@each_stack
async def conversation(node, stack, name):
    await cases_clients.conversation(node, stack(node), f"room:talk-{name}", f"talk-{name}")


@each_stack
async def rebinding_of_the_port(node, stack, name):
    await _rebind(node, stack, f"port-{name}", ["127.0.0.1"])


@each_stack
async def rebinding_of_the_address(node, stack, name):
    await _rebind(node, stack, f"address-{name}", ["127.0.0.2"])


@each_stack
async def rebinding_again_and_again(node, stack, name):
    hosts = ["127.0.0.3", "127.0.0.1", "127.0.0.4", "127.0.0.1"]
    await _rebind(node, stack, f"again-{name}", hosts)


async def _rebind(node, stack, name, hosts):
    async with Talk(node, stack, name) as talk:
        await talk.go_on()
        for host in hosts:
            before = node.metric(PATH_CHANGES)
            await talk.client.rebind(host)
            await talk.go_on()
            await _node_sees(node, before + 1)


@each_stack
async def migration_by_the_client(node, stack, name):
    async with Talk(node, stack, f"migrate-{name}") as talk:
        await talk.go_on()
        for host in ["127.0.0.5", "127.0.0.6"]:
            before = node.metric(PATH_CHANGES)
            await talk.client.migrate(host)
            await talk.go_on()
            await _node_sees(node, before + 1)


@each_stack
async def a_blackhole_of_seconds(node, stack, name):
    async with Talk(node, stack, f"hole-{name}") as talk:
        await talk.go_on()
        await talk.client.blackhole(True)
        async with Wss(node, wire.SUBPROTOCOL_PROTOBUF) as other:
            await other.open(node.token("outside"), f"outside-{name}")
            for number in range(5):
                published = await other.ask(publish=pb.Publish(
                    channel=talk.channel, payload=b"meanwhile", client_seq=number + 1))
                assert published.HasField("published"), published
        await asyncio.sleep(BLACKHOLE_SECS)
        await talk.client.blackhole(False)
        pong = await talk.client.ask(ping=pb.Ping(client_time_ms=7))
        assert pong.pong.client_time_ms == 7
        for number in range(5):
            arrived = await talk.client.publication(talk.channel)
            assert (arrived.offset, arrived.payload) == (talk.said + number + 1, b"meanwhile")


@each_stack
async def resumption_of_a_tls_session(node, stack, name):
    async with Talk(node, stack, f"first-{name}") as talk:
        assert not talk.client.resumed
        await talk.go_on()
        ticket = await talk.client.session()
    async with Talk(node, stack, f"second-{name}", ticket) as talk:
        assert talk.client.resumed
        await talk.go_on()


async def test_early_data_is_refused_and_sent_again_by_aioquic(node):
    async with Talk(node, Quic, "early-first") as talk:
        ticket = await talk.client.session()
    assert not ticket.max_early_data_size, "the node offers no 0-RTT"
    # A client that does it all the same.
    ticket.max_early_data_size = 0xFFFF_FFFF
    client = Quic(node, ticket)
    await client.connect(wait=False)
    try:
        await client.send(wire.hello(node.token("early"), "early-1"))
        await asyncio.wait_for(client.protocol.wait_connected(), 20)
        assert client.protocol.resumed and not client.protocol.early
        welcome = await client.reply(1)
        assert welcome.HasField("welcome"), welcome
    finally:
        await client.__aexit__(None, None, None)


async def test_early_data_is_taken_from_aioquic_and_a_ticket_only_once(node):
    eager = EagerNode(node)
    await eager.start()
    try:
        async with Talk(eager, Quic, "eager-first") as talk:
            ticket = await talk.client.session()
        assert ticket.max_early_data_size == 0xFFFF_FFFF, ticket.max_early_data_size
        # Whoever has recorded the first flight can send it again, but it is not taken again.
        for taken in [True, False]:
            client = Quic(eager, ticket)
            await client.connect(wait=False)
            try:
                await client.send(wire.hello(eager.token("eager"), "eager-1"))
                await asyncio.wait_for(client.protocol.wait_connected(), 20)
                assert bool(client.protocol.early) == taken, client.protocol.early
                welcome = await client.reply(1)
                assert welcome.HasField("welcome"), welcome
                pong = await client.ask(ping=pb.Ping(client_time_ms=7))
                assert pong.pong.client_time_ms == 7
            finally:
                await client.__aexit__(None, None, None)
        assert eager.metric(EARLY_DATA) == 1
    finally:
        assert eager.stop() == 0, eager.log()


if "quiche" in STACKS:
    async def test_early_data_is_taken_from_quiche(node):
        eager = EagerNode(node)
        await eager.start()
        try:
            async with Talk(eager, Quiche, "eager-quiche-first") as talk:
                ticket = await talk.client.session()
            hello = wire.hello(eager.token("eager"), "eager-2")
            async with Quiche(eager, ticket, hello) as client:
                assert client.resumed and client.early
                welcome = await client.reply(1)
                assert welcome.HasField("welcome"), welcome
                pong = await client.ask(ping=pb.Ping(client_time_ms=7))
                assert pong.pong.client_time_ms == 7
            assert eager.metric(EARLY_DATA) == 1
        finally:
            assert eager.stop() == 0, eager.log()

    async def test_early_data_is_not_offered_to_quiche(node):
        # Its configuration asks for 0-RTT wherever a ticket allows it.
        async with Talk(node, Quiche, "early-quiche-first") as talk:
            ticket = await talk.client.session()
        hello = wire.hello(node.token("early"), "early-2")
        async with Quiche(node, ticket, hello) as client:
            assert client.resumed and not client.early
            welcome = await client.reply(1)
            assert welcome.HasField("welcome"), welcome


@each_stack
async def no_more_than_thrice_what_an_unproven_address_sent(node, stack, name):
    flight = await _first_flight(node, stack)
    sent = sum(len(datagram) for datagram in flight)
    assert sent >= 1200, sent
    received = await told_in_silence(node, flight)
    assert received > 1200, f"the node has not answered {name}: {received}"
    assert received <= AMPLIFICATION * sent + ONE_MORE_DATAGRAM, f"{received} for {sent} by {name}"


async def told_in_silence(node, flight):
    """Bytes that come back to an address that has sent these datagrams and says nothing more."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.setblocking(False)
        silent.connect((node.host, node.port))
        for datagram in flight:
            silent.send(datagram)
        received, until = 0, time.monotonic() + SILENCE_SECS
        while time.monotonic() < until:
            try:
                received += len(silent.recv(65_536))
            except BlockingIOError:
                await asyncio.sleep(0.01)
    return received


async def _first_flight(node, stack):
    if stack is Quic:
        connection = QuicConnection(configuration=Quic(node).configuration())
        connection.connect((node.host, node.port), now=0.0)
        return [datagram for datagram, _ in connection.datagrams_to_send(now=0.0)]
    # To nobody, so that the node has not seen it. A key share that withstands quantum computers
    # takes it two datagrams.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind((node.host, 0))
        client = Quiche(_Elsewhere(node, nobody.getsockname()[1]))
        await client.start()
        while len(client.first) < 2:
            await asyncio.sleep(0.01)
        await client.stop()
    return client.first[:2]


class _Elsewhere:
    def __init__(self, node, port):
        self.host, self.port, self.ca = node.host, port, node.ca


@each_stack
async def proof_of_address(node, stack, name):
    wary = WaryNode(node)
    await wary.start()
    try:
        async with Talk(wary, stack, f"proof-{name}") as talk:
            # A hello of two datagrams may be told twice; the second time counts for nothing.
            assert 1 <= talk.client.retries <= 2, talk.client.retries
            await talk.go_on()
            await talk.client.rebind("127.0.0.2")
            await talk.go_on()
        assert wary.metric("sterna_edge_retries_total") >= 1
    finally:
        assert wary.stop() == 0, wary.log()
