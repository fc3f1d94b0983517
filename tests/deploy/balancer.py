"""A balancer with a configuration of `deploy/balancer` before two edges of the cluster, and a network
path before it that changes as a client's NAT does."""

import os
import random
import re
import select
import socket
import subprocess
import tempfile
import threading

from local import PATIENCE_SECS, ROOT, wait_for

EDGES = ("edge-1", "edge-2")


class Balancer:
    """Runs while its `with` block does."""

    def __init__(self, cluster, configuration):
        self._folder = tempfile.TemporaryDirectory(dir=cluster.home, prefix="balancer-")
        self._run = self._folder.name
        self._log = os.path.join(self._run, "log")
        self.port = free_port()
        self._config = os.path.join(self._run, configuration)
        with open(os.path.join(ROOT, "deploy", "balancer", configuration), encoding="utf-8") as file:
            text = file.read()
        values = {"LISTEN": f"127.0.0.1:{self.port}", "RUN": self._run}
        for number, edge in enumerate(map(cluster.process, EDGES), start=1):
            values[f"EDGE_{number}"] = f"127.0.0.1:{edge['client']}"
            values[f"EDGE_{number}_HTTP"] = str(edge["port"])
        with open(self._config, "w", encoding="utf-8") as file:
            file.write(re.sub("@([A-Z0-9_]+)@", lambda found: values[found[1]], text))

    def __enter__(self):
        command = ["haproxy", "-db", "-f", self._config]
        if self._config.endswith(".conf"):
            command = ["nginx", "-p", self._run, "-e", "stderr", "-c", self._config,
                       "-g", "daemon off;"]
        environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}
        with open(self._log, "w", encoding="utf-8") as log:
            self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           env=environment)
        try:
            wait_for("the balancer listens", self._listens)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind, *_):
        self._end()
        if kind:
            print(self.log())
        self._folder.cleanup()

    def _end(self):
        self._child.terminate()
        self._child.wait(PATIENCE_SECS)

    def log(self):
        with open(self._log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def checks(self):
        """HAProxy's words on the last check of each edge, as in L7OK."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.path.join(self._run, "haproxy.sock"))
            connection.sendall(b"show stat\n")
            lines = connection.makefile(encoding="utf-8").read().lstrip("# ").splitlines()
        names = lines[0].split(",")
        rows = [dict(zip(names, line.split(","))) for line in lines[1:] if line]
        return {row["svname"]: row["check_status"] for row in rows if row["svname"] in EDGES}

    def _listens(self):
        assert self._child.poll() is None, self.log()
        kind = socket.SOCK_DGRAM if "quic" in self._config else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as attempt:
            if kind == socket.SOCK_STREAM:
                return attempt.connect_ex(("127.0.0.1", self.port)) == 0
            try:
                attempt.bind(("127.0.0.1", self.port))
            except OSError:
                return True
            return False


class Path:
    """Carries one client's datagrams; `change` gives them another source port from then on."""

    def __init__(self, target):
        self._target = ("127.0.0.1", target)
        self._inside = udp_socket()
        self._outside = udp_socket()
        self._ended = threading.Event()
        self.port = self._inside.getsockname()[1]

    def __enter__(self):
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        self._inside.close()
        self._outside.close()

    def change(self):
        # What comes for the old port is lost, as behind a NAT that has forgotten it.
        self._outside, old = udp_socket(), self._outside
        old.close()

    def _carry(self):
        client = None
        while not self._ended.is_set():
            outside = self._outside
            try:
                ready, _, _ = select.select([self._inside, outside], [], [], 0.05)
                for readable in ready:
                    data, sender = readable.recvfrom(65536)
                    if readable is self._inside:
                        client = sender
                        self._outside.sendto(data, self._target)
                    else:
                        self._inside.sendto(data, client)
            except (OSError, ValueError):
                # Closed under us by `change`; the next turn has the new one.
                continue


def udp_socket():
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("127.0.0.1", 0))
    return opened


def free_port():
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
