#!/usr/bin/env python3
"""A whole cluster on this machine: `cluster.py start`, `stop` or `status` (make cluster, make
cluster-stop, make cluster-status).

MariaDB, a Redis Cluster of three, three cores and four edges in two regions, on free loopback ports,
under a supervisor that starts again what ends. Everything is in one directory; remove it to begin
anew. STERNA names the binary.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)

import probes  # noqa: E402
import processes  # noqa: E402
from layout import Layout  # noqa: E402
from supervisor import END_SECS, Supervisor  # noqa: E402

NEEDED = ("mariadbd", "mariadb-install-db", "redis-server", "redis-cli", "openssl")
# Three stages, each with its own patience.
STOP_SECS = 3 * END_SECS + 10


def start(layout, binary):
    if (running := identities(layout)):
        print(f"the cluster in {layout.home} runs already ({len(running)} processes); "
              "`make cluster-status` shows it, `make cluster-stop` ends it")
        return 1
    missing = [program for program in (*NEEDED, binary) if not shutil.which(program)]
    if missing:
        print(f"missing: {', '.join(missing)}; `make cluster` installs and builds what it needs")
        return 1
    if not layout.exists():
        lay_out(layout, binary)
    if (said := supervised(layout)) != "up\n":
        print(f"the cluster did not start, and what had started was ended. {said.strip()}")
        return 1
    say_how_to_try(layout, binary)
    return 0


def lay_out(layout, binary):
    if os.path.isdir(layout.home) and os.listdir(layout.home):
        sys.exit(f"{layout.home} holds something, but no complete cluster: look, and remove it")
    try:
        layout.write(binary)
    except BaseException:
        # Half a layout would be taken for somebody's work.
        shutil.rmtree(layout.home)
        raise


def supervised(layout):
    """Starts the supervisor, which outlives this process, and returns what it says first."""
    with open(layout.path("logs", "supervisor.log"), "ab") as log:
        child = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "supervise", "--dir", layout.home],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            start_new_session=True)
    try:
        first = child.stdout.readline()
        if first == "up\n":
            return first
        said = first + child.stdout.read()
        child.wait()
        return said or f"The supervisor ended: see {layout.path('logs', 'supervisor.log')}"
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
        child.wait()
        raise


def supervise(layout, binary):
    with open(layout.path("lock"), "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another one is being started there.")
            return 1
        Supervisor(layout, binary).run()
    return 0


def stop(layout, _binary):
    running = identities(layout)
    if not running:
        print(f"no cluster runs in {layout.home}")
        return 0
    killed = []
    if "supervisor" in running:
        killed += processes.end([running["supervisor"]], STOP_SECS)
    # Without a supervisor to end them, in the order in which it would.
    for name in reversed(identities(layout)):
        killed += processes.end([running[name]], END_SECS)
    print(f"ended {len(running)} processes" + (f", {len(killed)} of them killed" if killed else ""))
    return 0


def status(layout, _binary):
    if not layout.exists():
        print(f"no cluster in {layout.home}: `make cluster` makes one")
        return 1
    running = identities(layout)
    well = "supervisor" in running
    print(f"{'supervisor':<12}{running['supervisor'][0] if well else 'ended':>9}")
    for process in layout.processes():
        name = process["name"]
        reason = probes.probe(process) if name in running else "ended"
        well = well and reason is None
        pid = running[name][0] if name in running else "-"
        where = f"http {process['port']}" if process["probe"] == "node" else f"port {process['port']}"
        client = f"clients {process['client']}" if "client" in process else ""
        print(f"{name:<12}{pid:>9}  {process.get('region', ''):<5} {where:<11} {client:<14} "
              f"{reason or 'ready'}")
    return 0 if well else 1


def identities(layout):
    """Those processes of this cluster that run, in the order of their start."""
    try:
        with open(layout.path("running.json"), encoding="utf-8") as file:
            written = json.load(file)
    except FileNotFoundError:
        return {}
    return {name: it for name, it in written.items() if processes.is_running(it)}


def say_how_to_try(layout, binary):
    home, program = brief(layout.home), brief(binary)
    edges = [it for it in layout.processes() if "client" in it]
    east, west = (next(it for it in edges if it["region"] == region)
                  for region in ("east", "west"))
    token = subprocess.run(
        [binary, "token", "--user", "you", "--ttl", "24h", "--data-dir", layout.home],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout.strip()
    at = f"--ca {home}/keys/ca.pem --token $(cat {home}/token)"
    with open(layout.path("token"), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(token + "\n")
    print(f"""\
3 cores and 4 edges run in two regions, with MariaDB and Redis. Receive in the west:
  {program} sub room:1 --server localhost:{west['client']} {at}
and publish in the east:
  {program} pub room:1 Hello --server localhost:{east['client']} {at}
token     {home}/token (good for 24 h)
console   http://localhost:{east['port']}/console/ with the key in {home}/keys/api.secret
top       {program} top --url http://localhost:{west['port']} --api-key-file {home}/keys/api.secret
logs      {home}/logs
settings  {home}/*.toml, read when a node starts
look      make cluster-status (a node that is killed is started again)
end       make cluster-stop (what was published stays; remove {home} to begin anew)""")


def brief(path):
    return min(path, os.path.relpath(path), key=len)


VERBS = {"start": start, "stop": stop, "status": status, "supervise": supervise}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--dir", default=os.path.join(ROOT, ".sterna-cluster"))
    arguments = parser.parse_args()
    # Where Debian has servers; not everybody looks there.
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    binary = os.path.abspath(os.environ.get("STERNA") or
                             os.path.join(ROOT, "target", "release", "sterna"))
    return VERBS[arguments.verb](Layout(arguments.dir), binary)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except RuntimeError as failure:
        sys.exit(str(failure))
