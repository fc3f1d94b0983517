"""A WebTransport client of other makers can do what raw QUIC can; the rest of HTTP/3 is answered."""

import asyncio
import time

import cases_clients
import wire
from clients import Wss
from webtransport import WebTransport
from wire import pb

PATH_CHANGES = "sterna_edge_path_changes_total"


async def test_aioquic_speaks_webtransport(node):
    client = WebTransport(node, protocols='"sterna.1"')
    await cases_clients.conversation(node, client, "room:webtransport", "webtransport-1")
    assert client.answer[b":status"] == b"200", client.answer
    assert client.answer[b"wt-protocol"] == b'"sterna.1"', client.answer
    assert client.answer[b"sec-webtransport-http3-draft"] == b"draft02", client.answer


async def test_lanes_bulk_streams_and_datagrams_of_webtransport(node):
    channel = "room:webtransport-lanes"
    async with WebTransport(node) as browser, Wss(node, wire.SUBPROTOCOL_JSON) as other:
        await browser.open(node.token("alice"), "wt-lanes-1", pb.Subscribe(channel=channel))
        await other.open(node.token("bob"), "wt-lanes-2", pb.Subscribe(channel=channel))
        await browser.send_on_lane(wire.publish(70, channel, b"by lane", 1))
        assert (await browser.reply(70)).published.offset == 1
        assert (await other.publication(channel)).payload == b"by lane"
        # It comes back by a lane of the node.
        assert (await browser.publication(channel)).payload == b"by lane"
        history = await browser.ask_on_bulk_stream(
            wire.command(71, history=pb.History(channel=channel, limit=10)))
        assert [each.payload for each in history.history.publications] == [b"by lane"]
        # A datagram may be lost, and then another one is sent.
        for _ in range(50):
            browser.send_datagram(wire.command(0, ephemeral=pb.Ephemeral(
                channel=channel, key="typing", payload=b"1")))
            await browser.ask(ping=pb.Ping())
            await other.ask(ping=pb.Ping())
            if any(each.push.HasField("ephemeral") for each in other.pushes):
                return
        raise AssertionError("no ephemeral has arrived")


async def test_webtransport_goes_on_when_its_address_changes(node):
    channel = "room:webtransport-moves"
    async with WebTransport(node) as browser:
        await browser.open(node.token("alice"), "wt-moves", pb.Subscribe(channel=channel))
        for number, host in enumerate(["127.0.0.2", "127.0.0.1", "127.0.0.3"], start=1):
            before = node.metric(PATH_CHANGES)
            await browser.rebind(host)
            published = await browser.ask(publish=pb.Publish(
                channel=channel, payload=b"here", client_seq=number))
            assert published.published.offset == number
            assert (await browser.publication(channel)).offset == number
            deadline = time.monotonic() + 20
            while node.metric(PATH_CHANGES) < before + 1:
                assert time.monotonic() < deadline, "the node has seen no change of path"
                await asyncio.sleep(0.05)


async def test_webtransport_is_closed_with_a_reason(node):
    async with WebTransport(node) as client:
        await client.send_raw(b"\x20GET / HTTP/1.1\r\nHost: nobody here..")
        assert await client.closed() == wire.CLOSE_PROTOCOL_ERROR
    async with WebTransport(node) as client:
        await client.send(wire.hello("garbage", "wt-garbage"))
        assert await client.closed() == wire.CLOSE_UNAUTHORIZED


async def test_requests_over_http3_are_answered(node):
    async with WebTransport(node, path="/elsewhere") as client:
        assert client.answer[b":status"] == b"404", client.answer
        assert (await client.get("/"))[b":status"] == b"200"
        assert (await client.get(wire.WEBSOCKET_PATH))[b":status"] == b"405"
    async with WebTransport(node, protocols='"mqtt"') as client:
        assert client.answer[b":status"] == b"400", client.answer
