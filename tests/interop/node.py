"""The node under test: `sterna dev` as a child process on free ports in a folder of its own."""

import asyncio
import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

BINARY = os.environ["STERNA_BIN"]
PATIENCE_SECS = 60


class Node:
    def __init__(self):
        self._home = tempfile.TemporaryDirectory(prefix="sterna-interop-")
        self.data_dir = os.path.join(self._home.name, "data")
        self._log_path = os.path.join(self._home.name, "node.log")
        self._child = None
        self.host = "127.0.0.1"
        self.port = 0
        self.http = ""
        self.ca = ""
        self.certificate_hash = ""

    async def start(self):
        with open(self._log_path, "w", encoding="utf-8") as log:
            # What the tests are told by variables would be configuration to the node.
            ours = {name: value for name, value in os.environ.items()
                    if not name.startswith("STERNA_")}
            self._child = subprocess.Popen(
                [BINARY, *self._verb()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=ours)
        deadline = time.monotonic() + PATIENCE_SECS
        while not await asyncio.to_thread(self._is_ready):
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the node did not start:\n" + self.log())
            await asyncio.sleep(0.02)

    def stop(self):
        """Ends the node as an operator would and returns its exit status."""
        self._child.send_signal(signal.SIGTERM)
        try:
            return self._child.wait(PATIENCE_SECS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()
        finally:
            self._home.cleanup()

    def is_running(self):
        return self._child.poll() is None

    def token(self, user, *arguments):
        """An access token as the command line makes it."""
        made = subprocess.run(
            [BINARY, "token", "--user", user, "--data-dir", self.data_dir, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        return made.stdout.strip()

    def metric(self, name):
        """The sum of a metric over all its labels."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines
            if line.startswith((name + " ", name + "{")))

    def log(self):
        with open(self._log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def _verb(self):
        return ["dev", "--data-dir", self.data_dir, "--client-port", "0", "--http-port", "0"]

    def _find(self):
        """Reads where it is; fails while it does not say."""
        with open(os.path.join(self.data_dir, "dev.json"), encoding="utf-8") as file:
            found = json.load(file)
        self.port = int(found["client"].rsplit(":", 1)[1])
        self.http = found["http"]
        self.ca = found["ca"]
        self.certificate_hash = found["certificate_hash"]

    def _is_ready(self):
        try:
            self._find()
            with urllib.request.urlopen(f"http://{self.http}/readyz", timeout=2) as answer:
                return answer.status == 200
        except (OSError, ValueError, KeyError, urllib.error.URLError):
            return False


class OtherNode(Node):
    """`sterna serve` with settings of its own for clients, and the keys of another node, whose
    tokens it therefore believes."""

    def __init__(self, other, client):
        super().__init__()
        keys = os.path.join(other.data_dir, "keys")
        self.ca = os.path.join(keys, "ca.pem")
        self.token = other.token
        self._config = os.path.join(self._home.name, "sterna.toml")
        with open(self._config, "w", encoding="utf-8") as config:
            config.write(f"""
[node]
data_dir = "{self.data_dir}"
[client]
address = "127.0.0.1:0"
certificate = "{keys}/node.pem"
private_key = "{keys}/node.key"
{client}
[http]
address = "127.0.0.1:0"
[channels]
create_on_first_use = true
[[auth.keys]]
algorithm = "HS256"
file = "{keys}/token.secret"
""")

    def _verb(self):
        return ["serve", "--config", self._config, "--set", "log.format=json"]

    def _find(self):
        up = next(
            (fields for fields in (json.loads(line)["fields"] for line in self.log().splitlines())
             if fields["message"] == "node is up"), None)
        if up is None:
            raise ValueError("not up yet")
        self.port = int(up["client"].rsplit(":", 1)[1])
        self.http = up["http"]


class WaryNode(OtherNode):
    """Asks everybody for a proof of address (Retry)."""

    def __init__(self, other):
        super().__init__(other, "handshakes_before_retry = 0")


class EagerNode(OtherNode):
    """Takes what comes before the end of a handshake (0-RTT)."""

    def __init__(self, other):
        super().__init__(other, "early_data = true")


class PatientNode(OtherNode):
    """Gives newcomers a minute for their first word."""

    def __init__(self, other):
        super().__init__(other, 'hello_deadline = "60s"')
