"""ngtcp2 with GnuTLS, a third QUIC stack that shares no code with ours. Its client speaks HTTP/3, which the
same listener answers, so that what happens below streams is put to it, too."""

import asyncio
import os
import re
import shutil
import socket
import tempfile
import time

from cases_paths import AMPLIFICATION, ONE_MORE_DATAGRAM, told_in_silence
from clients import PATIENCE_SECS
from node import EagerNode, PatientNode, WaryNode

# Left out where it is not installed.
NGTCP2 = shutil.which("gtlsclient")

EARLY_DATA = "sterna_edge_early_data_accepted_total"
RETRIES = "sterna_edge_retries_total"

ANSWERED = "[:status: 200]"
MOVED = "Local address is now"
CHALLENGED = "PATH_CHALLENGE"
# The node's word that the handshake is over.
CONFIRMED = "HANDSHAKE_DONE"

# Datagrams that are lost one after the other.
ASKED_IN_THE_DARK = 3


class Asking:
    """Its client, which asks for a page."""

    async def start(self, node, *options, port=None):
        self.text = ""
        self._child = await asyncio.create_subprocess_exec(
            NGTCP2, *options, "--exit-on-all-streams-close", node.host, str(port or node.port),
            f"https://localhost:{node.port}/",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT)
        self._reading = asyncio.create_task(self._read())
        return self

    async def _read(self):
        while told := await self._child.stdout.read(65_536):
            self.text += told.decode(errors="replace")

    async def says(self, mark):
        """Waits for what it tells of itself."""
        deadline = time.monotonic() + PATIENCE_SECS
        while mark not in self.text:
            assert time.monotonic() < deadline and not self.is_over(), self.text[-6000:]
            await asyncio.sleep(0.01)

    def is_over(self):
        return self._reading.done()

    async def over(self):
        """Waits for its end; everything that it has said."""
        try:
            await asyncio.wait_for(self._reading, PATIENCE_SECS)
        except BaseException:
            self._child.kill()
            raise
        finally:
            await self._child.wait()
        return self.text


async def _ask(node, *options, port=None):
    return await (await Asking().start(node, *options, port=port)).over()


def _in_order(text, *marks):
    at = -1
    for mark in marks:
        at = text.find(mark, at + 1)
        assert at >= 0, f"no {mark} in its place in:\n{text[-6000:]}"


class Path:
    """Carries datagrams to the node and back. From where, and whether, is said from outside."""

    def __init__(self, node):
        self._loop = asyncio.get_running_loop()
        self._node = (node.host, node.port)
        self._client = None
        self.dark = False
        self.from_client = 0
        self._near = self._bind("127.0.0.1", self._to_node)
        self._far = self._bind("127.0.0.1", self._to_client)
        self.port = self._near.getsockname()[1]

    def _bind(self, host, reader):
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.setblocking(False)
        bound.bind((host, 0))
        self._loop.add_reader(bound, reader, bound)
        return bound

    def _to_node(self, near):
        datagram, self._client = near.recvfrom(65_536)
        self.from_client += 1
        if not self.dark:
            self._far.sendto(datagram, self._node)

    def _to_client(self, far):
        datagram = far.recv(65_536)
        if self._client and not self.dark:
            self._near.sendto(datagram, self._client)

    def rebind(self, host):
        """As a NAT that has forgotten: what comes to the old address is lost."""
        self._drop(self._far)
        self._far = self._bind(host, self._to_client)

    def close(self):
        self._drop(self._near)
        self._drop(self._far)

    def _drop(self, bound):
        self._loop.remove_reader(bound)
        bound.close()


if NGTCP2:
    async def test_migration_by_the_client_by_ngtcp2(node):
        text = await _ask(node, "--change-local-addr=300ms", "--delay-stream=600ms")
        _in_order(text, MOVED, ANSWERED)

    async def test_rebinding_of_the_port_by_ngtcp2(node):
        text = await _ask(
            node, "--nat-rebinding", "--change-local-addr=200ms", "--delay-stream=500ms")
        # The node asks the address that it has not seen before, and answers it.
        _in_order(text, MOVED, CHALLENGED)
        _in_order(text, MOVED, ANSWERED)

    async def test_rebinding_of_the_address_by_ngtcp2(node):
        path = Path(node)
        try:
            asking = await Asking().start(node, "--delay-stream=2s", port=path.port)
            await asking.says(CONFIRMED)
            path.rebind("127.0.0.7")
            text = await asking.over()
            _in_order(text, CHALLENGED)
            _in_order(text, ANSWERED)
        finally:
            path.close()

    async def test_a_blackhole_by_ngtcp2(node):
        patient = PatientNode(node)
        await patient.start()
        path = Path(patient)
        try:
            asking = await Asking().start(patient, "--delay-stream=500ms", port=path.port)
            await asking.says(CONFIRMED)
            path.dark = True
            await asking.says("submit request headers")
            before = path.from_client
            while path.from_client < before + ASKED_IN_THE_DARK:
                await asyncio.sleep(0.01)
            assert not asking.is_over()
            path.dark = False
            _in_order(await asking.over(), ANSWERED)
        finally:
            path.close()
            assert patient.stop() == 0, patient.log()

    async def test_a_fifth_of_all_datagrams_lost_by_ngtcp2(node):
        _in_order(await _ask(node, "--tx-loss=0.2", "--rx-loss=0.2"), ANSWERED)

    async def test_new_keys_by_ngtcp2(node):
        text = await _ask(node, "--key-update=100ms", "--delay-stream=300ms")
        _in_order(text, "Initiate key update", ANSWERED)
        _in_order(text, "Initiate key update", "key update confirmed")

    async def test_a_version_that_nobody_has_by_ngtcp2(node):
        text = await _ask(node, "--version=0x1a2a3a4a")
        # RFC 9000 (6): it is told what there is.
        _in_order(text, "VN v=0x00000001", "ERR_RECV_VERSION_NEGOTIATION")

    async def test_proof_of_address_by_ngtcp2(node):
        wary = WaryNode(node)
        await wary.start()
        try:
            _in_order(await _ask(wary), "type=Retry", ANSWERED)
            assert wary.metric(RETRIES) >= 1
        finally:
            assert wary.stop() == 0, wary.log()

    async def test_resumption_and_refused_early_data_by_ngtcp2(node):
        with tempfile.TemporaryDirectory(prefix="sterna-ngtcp2-") as kept:
            first = await _ask(node, *_ticket_in(kept))
            second = await _ask(node, *_ticket_in(kept))
        _in_order(first, ANSWERED)
        _in_order(second, "type=0RTT", "Early data was rejected", ANSWERED)
        # A server that resumes proves itself by the ticket and sends no certificate.
        assert _handshake_bytes(second) * 2 < _handshake_bytes(first), second[-4000:]

    async def test_early_data_is_taken_from_ngtcp2(node):
        eager = EagerNode(node)
        await eager.start()
        try:
            with tempfile.TemporaryDirectory(prefix="sterna-ngtcp2-") as kept:
                _in_order(await _ask(eager, *_ticket_in(kept)), ANSWERED)
                text = await _ask(eager, *_ticket_in(kept))
            _in_order(text, "type=0RTT", ANSWERED)
            assert "Early data was rejected" not in text, text[-4000:]
            assert eager.metric(EARLY_DATA) == 1
        finally:
            assert eager.stop() == 0, eager.log()

    async def test_no_more_than_thrice_what_an_unproven_address_sent_by_ngtcp2(node):
        first = await _first_datagram(node)
        received = await told_in_silence(node, [first])
        assert received > 1200, f"the node has not answered: {received}"
        assert received <= AMPLIFICATION * len(first) + ONE_MORE_DATAGRAM, (received, len(first))


def _ticket_in(folder):
    return (f"--session-file={os.path.join(folder, 'session')}",
            f"--tp-file={os.path.join(folder, 'parameters')}")


def _handshake_bytes(text):
    """Of the server's packets of a handshake."""
    lengths = re.findall(r"pkt rx .* type=Handshake len=(\d+)", text)
    assert lengths, text[-4000:]
    return sum(map(int, lengths))


async def _first_datagram(node):
    """What it would send to the node, which has not seen it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind((node.host, 0))
        nobody.setblocking(False)
        port = nobody.getsockname()[1]
        asking = await Asking().start(node, "--handshake-timeout=1s", port=port)
        try:
            return await asyncio.wait_for(
                asyncio.get_running_loop().sock_recv(nobody, 65_536), PATIENCE_SECS)
        finally:
            await asking.over()
