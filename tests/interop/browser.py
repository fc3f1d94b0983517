"""Chromium without a window, as a client: a page that speaks WebTransport, told what to send by the
browser's debugging protocol. The frames are made and read here."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import tempfile
import urllib.request

import websockets

import wire
from clients import PATIENCE_SECS, Client, Closed, Streams

BINARY = shutil.which("chromium")

# Runs in the page. Streams get the numbers that QUIC would give them.
PAGE = """
globalThis.connect = async (url, hash) => {
  const value = Uint8Array.from(atob(hash), (each) => each.charCodeAt(0));
  const transport = new WebTransport(url, {
    serverCertificateHashes: [{ algorithm: "sha-256", value }],
  });
  await transport.ready;
  const arrived = [];
  let wake = () => {};
  const put = (...what) => { arrived.push(what); wake(); };
  const text = (bytes) => btoa(String.fromCharCode(...bytes));
  const read = async (number, readable) => {
    const reader = readable.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      put(number, text(value));
    }
  };
  const lanes = async () => {
    const reader = transport.incomingUnidirectionalStreams.getReader();
    for (let number = 3; ; number += 4) {
      const { value, done } = await reader.read();
      if (done) return;
      read(number, value).catch(() => {});
    }
  };
  const control = await transport.createBidirectionalStream();
  read(0, control.readable).catch(() => {});
  read("datagram", transport.datagrams.readable).catch(() => {});
  lanes().catch(() => {});
  transport.closed.then(
    ({ closeCode, reason }) => put("closed", closeCode, reason),
    (error) => put("closed", null, String(error)),
  );
  const writers = new Map([["control", control.writable.getWriter()]]);
  const writer = async (kind) => {
    if (!writers.has(kind)) {
      const stream = kind === "lane" ? await transport.createUnidirectionalStream()
        : transport.datagrams.writable;
      writers.set(kind, stream.getWriter());
    }
    return writers.get(kind);
  };
  globalThis.send = async (kind, data) => {
    await (await writer(kind)).write(Uint8Array.from(atob(data), (each) => each.charCodeAt(0)));
  };
  globalThis.bulk = async (number, data) => {
    const stream = await transport.createBidirectionalStream();
    const writing = stream.writable.getWriter();
    await writing.write(Uint8Array.from(atob(data), (each) => each.charCodeAt(0)));
    await writing.close();
    read(number, stream.readable).catch(() => {});
  };
  globalThis.receive = async () => {
    while (!arrived.length) await new Promise((resolve) => { wake = resolve; });
    return arrived.splice(0);
  };
  globalThis.leave = () => transport.close();
};
"""


class Chromium:
    """The browser and one page of it, at an address of this machine, which is a secure context."""

    def __init__(self, page):
        self._page = page
        self._profile = tempfile.TemporaryDirectory(prefix="sterna-chromium-", ignore_cleanup_errors=True)
        self._child = None
        self._socket = None
        self._reading = None
        self._answers = {}
        self._next = 0

    async def __aenter__(self):
        self._child = await asyncio.create_subprocess_exec(
            BINARY, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={self._profile.name}", "--remote-debugging-port=0", "about:blank",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL, start_new_session=True)
        try:
            target = await asyncio.wait_for(self._target(), PATIENCE_SECS)
            self._socket = await websockets.connect(target, max_size=2**24, compression=None)
            self._reading = asyncio.create_task(self._read())
            await self.call("Page.enable")
            await self.call("Page.navigate", url=self._page)
            while await self.run("document.readyState + location.protocol") != "completehttp:":
                await asyncio.sleep(0.05)
            await self.run(PAGE)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_):
        if self._socket is not None:
            await self._socket.close()
            await self._reading
        # Its processes are a group of their own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        await self._child.wait()
        self._profile.cleanup()

    async def run(self, script):
        """The value of an expression in the page, or of its promise."""
        told = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise RuntimeError(json.dumps(told["exceptionDetails"])[:1000])
        return told["result"].get("value")

    async def call(self, method, **parameters):
        self._next += 1
        number = self._next
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps(
            {"id": number, "method": method, "params": parameters}))
        try:
            answer = await asyncio.wait_for(self._answers[number], PATIENCE_SECS)
        finally:
            del self._answers[number]
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    async def _target(self):
        """Where the one page can be told something; the browser writes its port into its profile."""
        port_file = os.path.join(self._profile.name, "DevToolsActivePort")
        while True:
            with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
                with open(port_file, encoding="utf-8") as file:
                    port = int(file.readline())
                pages = await asyncio.to_thread(_fetch, f"http://127.0.0.1:{port}/json/list")
                pages = (page for page in pages if page["type"] == "page")
                return next(pages)["webSocketDebuggerUrl"]
            if self._child.returncode is not None:
                raise RuntimeError(f"chromium ended with {self._child.returncode}")
            await asyncio.sleep(0.05)

    async def _read(self):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in self._socket:
                answer = json.loads(message)
                waiting = self._answers.get(answer.get("id"))
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)


def _fetch(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


class Browser(Client):
    """A page with a WebTransport session."""

    def __init__(self, node):
        super().__init__()
        self._node = node
        self._chromium = Chromium(f"http://{node.http}/healthz")
        self._streams = Streams()
        self._lane_open = False
        self._next_bulk = 4

    async def __aenter__(self):
        await self._chromium.__aenter__()
        try:
            url = f"https://127.0.0.1:{self._node.port}{wire.WEBSOCKET_PATH}"
            await self._call("connect", url, self._node.certificate_hash)
        except BaseException:
            await self._chromium.__aexit__()
            raise
        return self

    async def __aexit__(self, *arguments):
        await self._chromium.__aexit__(*arguments)

    async def _call(self, name, *arguments):
        values = ", ".join(json.dumps(argument) for argument in arguments)
        return await self._chromium.run(f"{name}({values})")

    async def send(self, frame):
        await self.send_raw(wire.delimited(frame))

    async def send_raw(self, data):
        await self._call("send", "control", _text(data))

    async def send_on_lane(self, frame):
        mark = b"" if self._lane_open else bytes([wire.LANE_STREAM])
        self._lane_open = True
        await self._call("send", "lane", _text(mark + wire.delimited(frame)))

    async def send_datagram(self, frame):
        await self._call("send", "datagram", _text(frame.SerializeToString()))

    async def ask_on_bulk_stream(self, frame):
        self._next_bulk += 4
        await self._call("bulk", self._next_bulk, _text(wire.delimited(frame)))
        return await self.reply(frame.command.id)

    async def leave(self):
        await self._call("leave")

    async def receive(self):
        while self._streams.arrived.empty():
            for what, *told in await self._call("receive"):
                match what:
                    case "closed":
                        self._streams.end(Closed(*told))
                    case "datagram":
                        self._streams.datagram(base64.b64decode(told[0]))
                    case _:
                        self._streams.feed(what, base64.b64decode(told[0]))
        return await self._streams.next()


def _text(data):
    return base64.b64encode(data).decode()
