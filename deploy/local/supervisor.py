"""Starts the processes of a cluster stage after stage, starts again what ends, and ends all of them
when told to by SIGTERM. Called by `cluster.py start`, whom it tells on standard output what became of
the start; from then on it says what happens in logs/supervisor.log."""

import json
import os
import signal
import subprocess
import sys
import time

import probes
import processes
from layout import STAGES, STORES, run

# Patience with a loaded machine.
START_SECS = 120
# A node may take 5 s to let its clients go and 10 s for what is on its way to the store.
END_SECS = 20
POLL_SECS = 0.1
# Between the end of a process and its next start.
RESTART_SECS = 1


class Told(Exception):
    """To end."""


class Supervisor:
    def __init__(self, layout, binary):
        self._layout = layout
        self._binary = binary
        self._plan = layout.processes()
        self._children = {}
        self._identities = {"supervisor": (os.getpid(), processes.start_time(os.getpid()))}
        self._told = False

    def run(self):
        # Only noted: an exception between a start and its being written down would lose a process.
        signal.signal(signal.SIGTERM, self._on_told)
        try:
            self._write_down()
            self._start()
            print("up", flush=True)
            while True:
                self._start_again()
                self._pause()
        except Told:
            log("told to end")
        except RuntimeError as error:
            print(error, flush=True)
        finally:
            self._end()

    def _on_told(self, _number, _frame):
        self._told = True

    def _pause(self, seconds=POLL_SECS):
        time.sleep(seconds)
        if self._told:
            raise Told

    def _start(self):
        for stage in STAGES:
            members = [it for it in self._plan if it["stage"] == stage]
            for process in members:
                self._spawn(process)
            for process in members:
                self._wait_until_ready(process)
            if stage == STORES:
                self._join_redis([it["port"] for it in members if it["probe"] == "redis"])

    def _spawn(self, process):
        name, (program, *arguments) = process["name"], process["command"]
        # Variables that begin so are configuration to a node.
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith("STERNA_")}
        with open(self._layout.path("logs", f"{name}.log"), "ab") as out:
            child = subprocess.Popen(
                [self._binary if program == "sterna" else program, *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
        self._children[name] = child
        self._identities[name] = (child.pid, processes.start_time(child.pid))
        self._write_down()
        log(f"{name} started as {child.pid}")

    def _wait_until_ready(self, process):
        name, deadline = process["name"], time.monotonic() + START_SECS
        while (reason := probes.probe(process)) is not None:
            ended = self._children[name].poll()
            if ended is not None:
                raise RuntimeError(f"{name} ended with status {ended}:\n{self._log_of(name)}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} is not ready: {reason}\n{self._log_of(name)}")
            self._pause()

    def _log_of(self, name):
        with open(self._layout.path("logs", f"{name}.log"), encoding="utf-8",
                  errors="replace") as file:
            return "".join(file.readlines()[-20:])

    def _join_redis(self, ports):
        """Makes one Redis Cluster of the servers, unless they are one."""
        def info(port):
            return run("redis-cli", "-p", str(port), "cluster", "info")

        if "cluster_slots_assigned:16384" not in info(ports[0]):
            run("redis-cli", "--cluster-yes", "--cluster", "create",
                *(f"127.0.0.1:{port}" for port in ports))
        deadline = time.monotonic() + START_SECS
        while any("cluster_state:ok" not in info(port) for port in ports):
            if time.monotonic() > deadline:
                raise RuntimeError("the Redis servers did not become one cluster")
            self._pause()

    def _start_again(self):
        for process in self._plan:
            status = self._children[process["name"]].poll()
            if status is not None:
                log(f"{process['name']} ended with status {status}")
                self._pause(RESTART_SECS)
                self._spawn(process)

    def _end(self):
        for stage in reversed(STAGES):
            names = [it["name"] for it in self._plan if it["stage"] == stage]
            # Those that were never started, or have ended, have nothing to be told.
            children = {name: self._children[name] for name in names if name in self._children}
            for child in children.values():
                child.terminate()
            deadline = time.monotonic() + END_SECS
            for name, child in children.items():
                try:
                    child.wait(max(0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    log(f"{name} did not end within {END_SECS} s and is killed")
                    child.kill()
                    child.wait()
        os.remove(self._layout.path("running.json"))
        log("all have ended")

    def _write_down(self):
        path = self._layout.path("running.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(self._identities, file, indent=1)
        os.replace(path + ".new", path)


def log(text):
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)
