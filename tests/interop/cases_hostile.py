"""Bad input is answered with the documented close code, and nobody else notices."""

import asyncio
import contextlib
import ssl

import websockets

import wire
from clients import Quic, Wss
from wire import pb

BAD_TOKENS = ["", "garbage", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9."]


@contextlib.asynccontextmanager
async def _bystander(node, name):
    """A well-behaved client that must be able to go on."""
    channel = f"room:bystander-{name}"
    async with Wss(node, wire.SUBPROTOCOL_PROTOBUF) as client:
        await client.open(node.token("bystander"), f"bystander-{name}", pb.Subscribe(channel=channel))
        yield
        published = await client.ask(publish=pb.Publish(
            channel=channel, payload=b"still here", client_seq=1))
        assert published.HasField("published"), published
        assert (await client.publication(channel)).payload == b"still here"
    assert node.is_running()


async def _closes_with(node, code, name, send):
    """Every transport closes with `code` after what `send` did."""
    async with _bystander(node, name):
        for client in (Quic(node), Wss(node, wire.SUBPROTOCOL_PROTOBUF)):
            async with client:
                await send(client)
                closed = await client.closed()
                assert closed == code, f"{type(client).__name__}: {closed}"


async def test_garbage_as_the_first_frame(node):
    async def send(client):
        await client.send_raw(b"\x20GET / HTTP/1.1\r\nHost: nobody here..")
    await _closes_with(node, wire.CLOSE_PROTOCOL_ERROR, "garbage", send)


async def test_an_oversize_length_prefix(node):
    async def send(client):
        await client.send_raw(b"\xff\xff\xff\xff\x0f")
    await _closes_with(node, wire.CLOSE_FRAME_TOO_LARGE, "oversize", send)


async def test_a_length_that_is_no_varint(node):
    async def send(client):
        await client.send_raw(b"\xff" * 16)
    await _closes_with(node, wire.CLOSE_PROTOCOL_ERROR, "varint", send)


async def test_an_empty_frame(node):
    async def send(client):
        await client.send_raw(b"\x00")
    await _closes_with(node, wire.CLOSE_PROTOCOL_ERROR, "empty", send)


async def test_a_first_frame_that_is_no_hello(node):
    async def send(client):
        await client.send(wire.command(1, ping=pb.Ping(client_time_ms=1)))
    await _closes_with(node, wire.CLOSE_PROTOCOL_ERROR, "no-hello", send)


async def test_a_reply_from_a_client(node):
    async def send(client):
        await client.open(node.token("mallory"), "mallory-reply")
        await client.send(pb.Frame(reply=pb.Reply(id=1, done=pb.Done())))
    await _closes_with(node, wire.CLOSE_PROTOCOL_ERROR, "reply", send)


async def test_bad_tokens(node):
    for at, token in enumerate(BAD_TOKENS):
        async def send(client, token=token):
            await client.send(wire.hello(token, "mallory-token"))
        await _closes_with(node, wire.CLOSE_UNAUTHORIZED, f"token-{at}", send)


async def test_a_token_of_another_secret(node):
    head, body, _ = node.token("alice").split(".")

    async def send(client):
        await client.send(wire.hello(f"{head}.{body}.{'A' * 43}", "mallory-secret"))
    await _closes_with(node, wire.CLOSE_UNAUTHORIZED, "secret", send)


async def test_silence_instead_of_a_hello(node):
    async with _bystander(node, "silence"):
        async with Wss(node, wire.SUBPROTOCOL_PROTOBUF) as client:
            assert await client.closed() == wire.CLOSE_HELLO_TIMEOUT


async def test_an_oversize_frame_in_a_session(node):
    async def send(client):
        await client.open(node.token("mallory"), "mallory-large")
        await client.send_raw(wire.varint(256 * 1024 + 1))
    await _closes_with(node, wire.CLOSE_FRAME_TOO_LARGE, "large", send)


async def test_json_that_is_none(node):
    async with _bystander(node, "json"):
        for text in ["{", "[]", "{\"command\": 7}", "{}", "[" * 50_000]:
            async with Wss(node, wire.SUBPROTOCOL_JSON) as client:
                await client.send_raw(text)
                closed = await client.closed()
                assert closed == wire.CLOSE_PROTOCOL_ERROR, f"{text[:20]}: {closed}"


async def test_the_wrong_kind_of_message(node):
    async with _bystander(node, "kind"):
        for subprotocol, message in [
                (wire.SUBPROTOCOL_JSON, b"{}"), (wire.SUBPROTOCOL_PROTOBUF, "{}")]:
            async with Wss(node, subprotocol) as client:
                await client.send_raw(message)
                assert await client.closed() == wire.CLOSE_PROTOCOL_ERROR


async def test_what_is_no_websocket_frame(node):
    async with _bystander(node, "no-frame"):
        for code, first_octet, payload in [
                (wire.CLOSE_WEBSOCKET_PROTOCOL, 0xA2, b"a reserved bit"),
                (wire.CLOSE_WEBSOCKET_PROTOCOL, 0x80, b"a continuation of nothing"),
                (wire.CLOSE_WEBSOCKET_TEXT, 0x81, b"\xff\xfe"),
                (wire.CLOSE_WEBSOCKET_TEXT, 0x01, b"\xff\xfe"),
                (wire.CLOSE_WEBSOCKET_TOO_BIG, 0x82, bytes(300 * 1024))]:
            async with Wss(node, wire.SUBPROTOCOL_PROTOBUF) as client:
                client.write_frame(first_octet, payload)
                closed = await client.closed()
                assert closed == code, f"{first_octet:x}: {closed} instead of {code}"


async def test_wrong_subprotocols_and_paths_are_refused_before_the_upgrade(node):
    context = ssl.create_default_context(cafile=node.ca)
    base = f"wss://{node.host}:{node.port}"
    async with _bystander(node, "upgrade"):
        for path, subprotocols in [
                (wire.WEBSOCKET_PATH, ["mqtt"]), (wire.WEBSOCKET_PATH, None),
                ("/elsewhere", [wire.SUBPROTOCOL_JSON])]:
            try:
                async with websockets.connect(
                        base + path, ssl=context, subprotocols=subprotocols):
                    raise AssertionError(f"{path} {subprotocols} was let in")
            except websockets.InvalidStatus as refused:
                assert 400 <= refused.response.status_code < 500


async def test_plain_bytes_on_the_tls_port(node):
    async with _bystander(node, "plain"):
        reader, writer = await asyncio.open_connection(node.host, node.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        # Whatever it says, it is no HTTP and it ends.
        with contextlib.suppress(ConnectionError):
            answer = await asyncio.wait_for(reader.read(), 20)
            assert not answer.startswith(b"HTTP/")
        writer.close()


async def test_a_lane_with_the_wrong_mark_is_stopped_and_the_session_goes_on(node):
    async with Quic(node) as client:
        await client.open(node.token("mallory"), "mallory-mark")
        stream = client.protocol._quic.get_next_available_stream_id(is_unidirectional=True)
        client.protocol._quic.send_stream_data(stream, b"\x7fwhat is this")
        client.protocol._quic.send_datagram_frame(b"no frame")
        client.protocol.transmit()
        pong = await client.ask(ping=pb.Ping(client_time_ms=9))
        assert pong.pong.client_time_ms == 9


async def test_many_that_hang_up_in_the_middle(node):
    async with _bystander(node, "hang-up"):
        for _ in range(20):
            _, writer = await asyncio.open_connection(node.host, node.port)
            writer.write(b"\x16\x03\x01\x02\x00\x01")
            writer.transport.abort()
        for _ in range(10):
            async with Wss(node, wire.SUBPROTOCOL_PROTOBUF) as client:
                await client.open(node.token("mallory"), "mallory-hang-up")
                await client.send_raw(wire.varint(100) + b"half")
                client._socket.transport.abort()
