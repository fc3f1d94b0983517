"""The files of a cluster: what runs, with which configuration, keys and ports.

Written once, into an empty directory; from then on they belong to whoever edits them.
"""

import json
import os
import pwd
import random
import secrets
import socket
import subprocess

CORES = {"core-1": "east", "core-2": "east", "core-3": "west"}
EDGES = {"edge-1": "east", "edge-2": "east", "edge-3": "west", "edge-4": "west"}
REDIS = ("redis-1", "redis-2", "redis-3")
# What is in a later stage needs what is in an earlier one.
STORES, OWNERS, CLIENTS = "stores", "cores", "edges"
STAGES = (STORES, OWNERS, CLIENTS)


class Layout:
    def __init__(self, home):
        self.home = os.path.abspath(home)
        self._ports = set()
        self._binary = None
        self._links = {}
        self._urls = None
        self._redis_urls = []

    def path(self, *names):
        return os.path.join(self.home, *names)

    def processes(self):
        """What runs, in the order of its start."""
        with open(self.path("processes.json"), encoding="utf-8") as file:
            return json.load(file)

    def exists(self):
        return os.path.exists(self.path("processes.json"))

    def write(self, binary):
        self._binary = binary
        for folder in ("keys", "logs", "data"):
            os.makedirs(self.path(folder), mode=0o700, exist_ok=True)
        self._make_keys()
        processes = [self._mariadb(), *map(self._redis, REDIS)]
        self._urls = f"mysql://sterna:sterna@127.0.0.1:{processes[0]['port']}/sterna"
        self._redis_urls = [f"redis://127.0.0.1:{it['port']}" for it in processes[1:]]
        self._links = {name: self._free_port() for name in (*CORES, *EDGES)}
        for role, nodes in (("core", CORES), ("edge", EDGES)):
            for name, region in nodes.items():
                number = 1 + list(self._links).index(name)
                processes.append(self._node(role, name, region, number))
        # Last: with it the directory is complete.
        self._write("processes.json", json.dumps(processes, indent=1) + "\n")

    def _make_keys(self):
        """Where `sterna sub --data-dir` looks for them."""
        ca, node = self.path("keys", "ca"), self.path("keys", "node")
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-days", "3650",
            "-subj", "/CN=Sterna local cluster")
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{node}.key", "-out", f"{node}.csr", "-subj", "/CN=localhost")
        self._write("keys/node.ext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n"
                                     "extendedKeyUsage=serverAuth\n")
        run("openssl", "x509", "-req", "-in", f"{node}.csr", "-CA", f"{ca}.pem", "-CAkey",
            f"{ca}.key", "-CAcreateserial", "-days", "3650", "-extfile", f"{node}.ext",
            "-out", f"{node}.pem")
        self._write("keys/token.secret", secrets.token_hex(32))
        self._write("keys/api.secret", secrets.token_hex(32))
        for name in ("ca.key", "node.key", "token.secret", "api.secret"):
            os.chmod(self.path("keys", name), 0o600)
        run(self._binary, "certificate", "authority", "--dir", self.path("links"))

    def _mariadb(self):
        port = self._free_port()
        self._write("mariadb.cnf", f"""\
[mariadbd]
user = {pwd.getpwuid(os.getuid()).pw_name}
datadir = {self.path("data", "mariadb")}
init-file = {self.path("mariadb.sql")}
bind-address = 127.0.0.1
port = {port}
socket = mariadb.sock
pid-file = mariadb.pid
skip-name-resolve
innodb-buffer-pool-size = 64M
innodb-log-file-size = 32M
innodb-file-per-table = OFF
# An acknowledged publication is on disk.
innodb-flush-log-at-trx-commit = 1
max-connections = 1000
""")
        self._write("mariadb.sql", """\
CREATE DATABASE IF NOT EXISTS sterna;
CREATE USER IF NOT EXISTS 'sterna'@'127.0.0.1' IDENTIFIED BY 'sterna';
GRANT ALL ON sterna.* TO 'sterna'@'127.0.0.1';
""")
        run("mariadb-install-db", f"--defaults-file={self.path('mariadb.cnf')}", "--skip-test-db",
            "--auth-root-authentication-method=normal")
        command = ["mariadbd", f"--defaults-file={self.path('mariadb.cnf')}"]
        return entry("mariadb", STORES, command, "mariadb", port)

    def _redis(self, name):
        port, bus = self._free_port(), self._free_port()
        os.makedirs(self.path("data", name))
        self._write(f"{name}.conf", f"""\
bind 127.0.0.1
port {port}
dir {self.path("data", name)}
cluster-enabled yes
cluster-port {bus}
cluster-config-file nodes.conf
# Nothing in it is missed, but a part that vanishes without a word is not noticed as a loss.
maxmemory-policy noeviction
save ""
appendonly no
""")
        return entry(name, STORES, ["redis-server", self.path(f"{name}.conf")], "redis", port)

    def _node(self, role, name, region, number):
        http = self._free_port()
        run(self._binary, "certificate", "node", "--cluster", "local", "--name", name,
            "--roles", role, "--dir", self.path("links"))
        seeds = [f"127.0.0.1:{self._links[core]}" for core in CORES if core != name]
        text = f"""\
[node]
name = "{name}"
number = {number}
roles = ["{role}"]
region = "{region}"
data_dir = "{self.path("data", name)}"
drain_deadline = "5s"

[cluster]
address = "127.0.0.1:{self._links[name]}"
certificate = "{self.path("links", name)}.pem"
private_key = "{self.path("links", name)}.key"
authorities = "{self.path("links", "authority.pem")}"
seeds = {json.dumps(seeds)}

[redis]
urls = {json.dumps(self._redis_urls)}
cluster = true

[http]
address = "127.0.0.1:{http}"

[[http.api_keys]]
id = "local"
secret_file = "{self.path("keys", "api.secret")}"

[[auth.keys]]
algorithm = "HS256"
file = "{self.path("keys", "token.secret")}"
"""
        command = ["sterna", "serve", "--config", self.path(f"{name}.toml")]
        node = entry(name, OWNERS if role == "core" else CLIENTS, command, "node", http)
        node["region"] = region
        if role == "core":
            text += self._store()
        else:
            node["client"] = self._free_port()
            text += self._client(node["client"])
        self._write(f"{name}.toml", text)
        return node

    def _store(self):
        return f"""
[store]
engine = "sql"
urls = ["{self._urls}"]

[channels]
create_on_first_use = true
"""

    def _client(self, port):
        return f"""
[client]
address = "127.0.0.1:{port}"
certificate = "{self.path("keys", "node.pem")}"
private_key = "{self.path("keys", "node.key")}"
# Pages that are being written come from any port of this machine; they need a token like everybody.
allowed_origins = ["*"]
# All clients of this machine have one address.
address_connections_per_second = 10000
address_connection_burst = 10000
"""

    def _free_port(self):
        """For UDP and TCP; below the range from which systems give ports to clients."""
        while True:
            port = random.randrange(20_000, 32_000)
            if port not in self._ports and all(is_free(port, kind) for kind in
                                               (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
                self._ports.add(port)
                return port

    def _write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)


def entry(name, stage, command, probe, port):
    return {"name": name, "stage": stage, "command": command, "probe": probe, "port": port}


def is_free(port, kind):
    with socket.socket(socket.AF_INET, kind) as attempt:
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed:\n{done.stdout}")
    return done.stdout
