"""A real browser can do what other clients can. Left out where there is no chromium."""

import cases_clients
import wire
from browser import BINARY, Browser
from clients import Wss
from wire import pb

if BINARY:
    async def test_chromium_speaks_webtransport(node):
        await cases_clients.conversation(node, Browser(node), "room:chromium", "chromium-1")

    async def test_chromium_has_lanes_bulk_streams_and_datagrams(node):
        channel = "room:chromium-lanes"
        async with Browser(node) as browser, Wss(node, wire.SUBPROTOCOL_JSON) as other:
            await browser.open(node.token("alice"), "chromium-2", pb.Subscribe(channel=channel))
            await other.open(node.token("bob"), "chromium-3", pb.Subscribe(channel=channel))
            await browser.send_on_lane(wire.publish(70, channel, b"by lane", 1))
            assert (await browser.reply(70)).published.offset == 1
            assert (await browser.publication(channel)).payload == b"by lane"
            history = await browser.ask_on_bulk_stream(
                wire.command(71, history=pb.History(channel=channel, limit=10)))
            assert [each.payload for each in history.history.publications] == [b"by lane"]
            # Datagrams may be lost, and then others are sent.
            for _ in range(50):
                await browser.send_datagram(wire.command(0, ephemeral=pb.Ephemeral(
                    channel=channel, key="typing", payload=b"1")))
                await other.ask(ephemeral=pb.Ephemeral(
                    channel=channel, key="typing", payload=b"2"))
                await browser.ask(ping=pb.Ping())
                await other.ask(ping=pb.Ping())
                if all(any(each.push.HasField("ephemeral") for each in client.pushes)
                       for client in (browser, other)):
                    break
            else:
                raise AssertionError("an ephemeral has not arrived")

    async def test_chromium_hears_why_it_is_closed(node):
        async with Browser(node) as browser:
            await browser.send(wire.hello("garbage", "chromium-4"))
            closed = await browser.closed()
            assert closed == wire.CLOSE_UNAUTHORIZED, closed
        async with Browser(node) as browser:
            await browser.open(node.token("alice"), "chromium-5")
            await browser.leave()
            assert await browser.closed() == 0
