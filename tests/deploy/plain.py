"""A client over plain HTTP, in JSON: one answer that goes on, and a TCP connection of its own for each
request that sends."""

import http.client
import json
import ssl
import subprocess

from local import BINARY, PATIENCE_SECS


class PlainClient:
    def __init__(self, cluster, port, user):
        self._port = port
        self._tls = ssl.create_default_context(cafile=cluster.path("keys", "ca.pem"))
        token = subprocess.run(
            [BINARY, "token", "--user", user, "--data-dir", cluster.home], check=True,
            capture_output=True, text=True, timeout=PATIENCE_SECS).stdout.strip()
        self._hello = {"command": {"id": 1, "hello": {"accessToken": token, "clientId": user}}}
        self._number = 0

    def __enter__(self):
        self._connection, self._answer = self._ask(self._hello, {})
        assert self._answer.status == 200, self._answer.read()
        name, opened = self._event()
        assert name == "open", opened
        self._stream = opened["stream"]
        self.node = self.reply(1)["welcome"]["node"]
        return self

    def __exit__(self, *_):
        self._connection.close()

    def ask(self, verb, what):
        """Sends a command and returns its reply."""
        self._number += 1
        fields = {"sterna-stream": self._stream, "sterna-sequence": str(self._number)}
        identity = self._number + 1
        connection, answer = self._ask({"command": {"id": identity, verb: what}}, fields)
        said = answer.read()
        connection.close()
        assert answer.status == 204, (answer.status, said)
        return self.reply(identity)

    def reply(self, identity):
        while True:
            name, frame = self._event()
            assert name == "", frame
            if frame.get("reply", {}).get("id") == identity:
                return frame["reply"]

    def _ask(self, frame, fields):
        connection = http.client.HTTPSConnection(
            "localhost", self._port, context=self._tls, timeout=PATIENCE_SECS)
        fields = {"content-type": "application/json", **fields}
        connection.request("POST", "/v1/stream", json.dumps(frame), fields)
        return connection, connection.getresponse()

    def _event(self):
        """The next event: its name and what it holds."""
        name, data = "", None
        while True:
            line = self._answer.readline().decode()
            assert line, "the answer has ended"
            if line == "\n" and data is not None:
                return name, json.loads(data)
            if line.startswith("event: "):
                name = line[7:-1]
            elif line.startswith("data: "):
                data = line[6:-1]
