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

    async def start(self):
        with open(self._log_path, "w", encoding="utf-8") as log:
            self._child = subprocess.Popen(
                [BINARY, "dev", "--data-dir", self.data_dir, "--client-port", "0",
                 "--http-port", "0"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
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

    def log(self):
        with open(self._log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def _is_ready(self):
        try:
            with open(os.path.join(self.data_dir, "dev.json"), encoding="utf-8") as file:
                found = json.load(file)
            self.port = int(found["client"].rsplit(":", 1)[1])
            self.http = found["http"]
            self.ca = found["ca"]
            with urllib.request.urlopen(f"http://{self.http}/readyz", timeout=2) as answer:
                return answer.status == 200
        except (OSError, ValueError, KeyError, urllib.error.URLError):
            return False
