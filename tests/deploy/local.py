"""The cluster of `deploy/local` under test, in a folder of its own, and clients of it."""

import json
import os
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request
import uuid
from contextlib import contextmanager

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(os.environ["STERNA_BIN"])
SCRIPT = os.path.join(ROOT, "deploy", "local", "cluster.py")
# Patience with a loaded machine, no expectation.
PATIENCE_SECS = 120
POLL_SECS = 0.05


class Cluster:
    def __init__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="sterna-deploy-")
        self._clients = []
        self.home = os.path.join(self._temporary.name, "cluster")

    def verb(self, verb, binary=BINARY):
        """Status and output of `cluster.py VERB`."""
        done = subprocess.run(
            [SCRIPT, verb, "--dir", self.home], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=4 * PATIENCE_SECS, check=False,
            env={**os.environ, "STERNA": binary})
        return done.returncode, done.stdout

    def end_clients(self):
        """Those that a failed case has left behind."""
        for client in self._clients:
            client.kill()
            client.communicate()
        self._clients.clear()

    def remove(self):
        self._temporary.cleanup()

    def path(self, *names):
        return os.path.join(self.home, *names)

    def process(self, name):
        with open(self.path("processes.json"), encoding="utf-8") as file:
            return next(it for it in json.load(file) if it["name"] == name)

    def pids(self):
        with open(self.path("running.json"), encoding="utf-8") as file:
            return {name: pid for name, (pid, _) in json.load(file).items()}

    def client_port(self, edge):
        return self.process(edge)["client"]

    def get(self, name, path):
        """What a node answers on its HTTP port, which is to be 200."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://127.0.0.1:{self.process(name)['port']}{path}",
                         timeout=PATIENCE_SECS) as answer:
            return answer.read().decode()

    def operator(self, name, *verb):
        """What a verb for operators says of one node, as JSON."""
        done = subprocess.run(
            [BINARY, *verb, "--json", "--url", f"http://127.0.0.1:{self.process(name)['port']}",
             "--api-key-file", self.path("keys", "api.secret")],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECS,
            check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def upgrade(self, edge, origin):
        """The status with which an edge answers the WebSocket of a page."""
        context = ssl.create_default_context(cafile=self.path("keys", "ca.pem"))
        with socket.create_connection(("127.0.0.1", self.client_port(edge)), PATIENCE_SECS) as tcp, \
                context.wrap_socket(tcp, server_hostname="localhost") as tls:
            tls.sendall(f"GET /v1/connect HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n"
                        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sterna.v1.json\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
            return int(tls.recv(64).split()[1])

    def metric(self, name, metric):
        """The sum of a node's metric over all its labels."""
        lines = self.get(name, "/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                   if line.startswith((metric + " ", metric + "{")))

    def logs(self):
        """The ends of all logs."""
        text = ""
        for name in sorted(os.listdir(self.path("logs"))):
            with open(self.path("logs", name), encoding="utf-8", errors="replace") as log:
                text += f"--- {name}\n" + "".join(log.readlines()[-20:])
        return text

    def remains(self):
        """Command lines of processes that name this cluster's folder."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                    line = file.read().replace("\0", " ")
            except OSError:
                continue
            if self._temporary.name in line and int(pid) != os.getpid():
                found.append(line)
        return found

    def publish(self, port, channel, text, transport="auto"):
        """Returns when the publication was acknowledged."""
        done = subprocess.run(
            self._client("pub", port, channel, transport, text), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE_SECS, check=False)
        assert done.returncode == 0, done.stderr

    @contextmanager
    def publisher(self, port, channel, transport):
        """One client that publishes what the function is called with, as soon as it can."""
        child = subprocess.Popen(
            self._client("pub", port, channel, transport, "--stdin"), stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, text=True, bufsize=1)
        try:
            yield lambda text: child.stdin.write(text + "\n")
            child.stdin.close()
            assert child.wait(PATIENCE_SECS) == 0, "not everything was acknowledged"
        finally:
            child.kill()
            child.wait()

    def subscribe(self, port, channel, count, transport="auto"):
        """A client that ends when it has received so many."""
        client = subprocess.Popen(
            self._client("sub", port, channel, transport, "--from", "earliest", "--json",
                         "--count", str(count)),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._clients.append(client)
        return client

    def receive(self, port, channel, count, transport="auto"):
        return texts(self.subscribe(port, channel, count, transport))

    def _client(self, verb, port, channel, transport, *more):
        return [BINARY, verb, channel, *more, "--server", f"localhost:{port}", "--transport",
                transport, "--data-dir", self.home, "--timeout", f"{PATIENCE_SECS // 2}s"]


def texts(subscriber):
    """What a subscriber that ends by itself has received."""
    try:
        out, errors = subscriber.communicate(timeout=PATIENCE_SECS)
    except subprocess.TimeoutExpired:
        subscriber.kill()
        out, errors = subscriber.communicate()
        raise AssertionError(f"received only:\n{out}\n{errors}") from None
    assert subscriber.returncode == 0, errors
    return [json.loads(line)["text"] for line in out.splitlines()]


def next_text(subscriber):
    """The next publication that a subscriber receives."""
    # Who is killed has an end of its output, at which nobody waits any more.
    alarm = threading.Timer(PATIENCE_SECS, subscriber.kill)
    alarm.start()
    try:
        line = subscriber.stdout.readline()
    finally:
        alarm.cancel()
    assert line, subscriber.stderr.read()
    return json.loads(line)["text"]


def fresh_channel():
    return f"room:{uuid.uuid4().hex[:12]}"


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE_SECS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not come to this: {what}"
        time.sleep(POLL_SECS)
    return found
