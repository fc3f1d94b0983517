"""Well-behaved clients of other makers can do what ours can."""

import wire
from clients import Quic, Wss
from wire import pb


async def conversation(node, client, channel, client_id):
    """Hello, subscribe, publish, receive, read back."""
    async with client:
        welcome = await client.open(node.token("alice"), client_id)
        assert welcome.user == "alice" and welcome.session_id
        assert welcome.limits.payload_bytes == 65_536
        assert welcome.durability == pb.DURABILITY_FSYNC

        subscribed = await client.ask(subscribe=pb.Subscribe(
            channel=channel, since=pb.Position()))
        assert subscribed.subscribed.live, subscribed
        for number in range(1, 6):
            payload = f"zażółć {number} 🐦".encode()
            published = await client.ask(publish=pb.Publish(
                channel=channel, payload=payload, client_seq=number))
            assert published.published.offset == number, published
            arrived = await client.publication(channel)
            assert (arrived.offset, arrived.payload, arrived.sender) == (number, payload, "alice")

        again = await client.ask(publish=pb.Publish(
            channel=channel, payload="zażółć 5 🐦".encode(), client_seq=5))
        assert again.published.duplicate and again.published.offset == 5, again

        history = await client.ask(history=pb.History(channel=channel, limit=3))
        assert [each.offset for each in history.history.publications] == [1, 2, 3]
        assert history.history.head_offset == 5 and history.history.more
        pong = await client.ask(ping=pb.Ping(client_time_ms=42))
        assert pong.pong.client_time_ms == 42 and pong.pong.server_time_ms > 0
        gone = await client.ask(unsubscribe=pb.Unsubscribe(channel=channel))
        assert gone.HasField("done"), gone


async def test_aioquic_speaks_the_wire(node):
    await conversation(node, Quic(node), "room:aioquic", "aioquic-1")


async def test_websockets_speaks_protobuf(node):
    await conversation(
        node, Wss(node, wire.SUBPROTOCOL_PROTOBUF), "room:wss-protobuf", "websockets-1")


async def test_websockets_speaks_json(node):
    await conversation(node, Wss(node, wire.SUBPROTOCOL_JSON), "room:wss-json", "websockets-2")


async def test_all_three_share_a_channel(node):
    channel = "room:mixed"
    async with Quic(node) as quic, Wss(node, wire.SUBPROTOCOL_JSON) as text, \
            Wss(node, wire.SUBPROTOCOL_PROTOBUF) as binary:
        everyone = {"q": quic, "t": text, "b": binary}
        for name, client in everyone.items():
            await client.open(
                node.token(f"user-{name}"), f"mixed-{name}", pb.Subscribe(channel=channel))
            outcome = await _first_push(client, "subscribed")
            assert outcome.subscribed.live, outcome
        for number, (name, client) in enumerate(everyone.items(), start=1):
            published = await client.ask(publish=pb.Publish(
                channel=channel, payload=name.encode(), client_seq=1))
            assert published.published.offset == number
        for client in everyone.values():
            seen = [(await client.publication(channel)) for _ in everyone]
            assert [each.payload for each in seen] == [b"q", b"t", b"b"]
            assert [each.offset for each in seen] == [1, 2, 3]


async def test_lanes_bulk_streams_and_datagrams(node):
    channel = "room:lanes"
    async with Quic(node) as quic, Quic(node) as other:
        await quic.open(node.token("alice"), "lanes-1", pb.Subscribe(channel=channel))
        await other.open(node.token("bob"), "lanes-2", pb.Subscribe(channel=channel))
        await _first_push(other, "subscribed")
        await quic.send_on_lane(wire.publish(70, channel, b"by lane", 1))
        assert (await quic.reply(70)).published.offset == 1
        history = await quic.ask_on_bulk_stream(
            wire.command(71, history=pb.History(channel=channel, limit=10)))
        assert [each.payload for each in history.history.publications] == [b"by lane"]
        # A datagram may be lost, and then another one is sent.
        for _ in range(50):
            quic.send_datagram(wire.command(0, ephemeral=pb.Ephemeral(
                channel=channel, key="typing", payload=b"1")))
            await quic.ask(ping=pb.Ping())
            await other.ask(ping=pb.Ping())
            if any(each.push.HasField("ephemeral") for each in other.pushes):
                break
        typing = next(each for each in other.pushes if each.push.HasField("ephemeral"))
        assert typing.push.ephemeral.sender == "alice"


async def test_recovery_brings_exactly_what_is_missing(node):
    channel = "room:recover"
    async with Wss(node, wire.SUBPROTOCOL_PROTOBUF) as writer:
        await writer.open(node.token("alice"), "recover-w")
        for number in range(1, 11):
            published = await writer.ask(publish=pb.Publish(
                channel=channel, payload=str(number).encode(), client_seq=number))
    epoch = published.published.epoch
    async with Quic(node) as reader:
        await reader.open(node.token("bob"), "recover-r")
        subscribed = (await reader.ask(subscribe=pb.Subscribe(
            channel=channel, since=pb.Position(epoch=epoch, offset=4)))).subscribed
        assert [each.offset for each in subscribed.publications] == [5, 6, 7, 8, 9, 10]
        assert subscribed.live and subscribed.position.offset == 10
        # A position in a history that is gone is told so, and what to forget.
        subscribed = (await reader.ask(subscribe=pb.Subscribe(
            channel=channel, since=pb.Position(epoch=epoch - 1, offset=4)))).subscribed
        assert subscribed.epoch_change.keep_upto == 0
        assert len(subscribed.publications) == 10


async def test_errors_are_told_and_the_connection_goes_on(node):
    async with Wss(node, wire.SUBPROTOCOL_JSON) as client:
        await client.open(node.token("alice", "--channel", "room:*"), "errors-1")
        refused = await client.ask(publish=pb.Publish(channel="vault", payload=b"x"))
        assert refused.error.name == "PERMISSION_DENIED" and refused.error.code == 102
        refused = await client.ask(publish=pb.Publish(channel="room:x", payload=b"x" * 65_537))
        assert refused.error.name == "TOO_LARGE", refused
        refused = await client.ask(publish=pb.Publish(channel="no spaces", payload=b"x"))
        assert refused.error.name == "BAD_REQUEST", refused
        fine = await client.ask(publish=pb.Publish(channel="room:x", payload=b"x"))
        assert fine.HasField("published"), fine


async def _first_push(client, field):
    """Waits for a push of this kind; a ping keeps frames coming."""
    while True:
        for frame in client.pushes:
            if frame.push.HasField(field):
                return frame.push
        client.pushes.append(await client._frame())
