#!/usr/bin/env python3
"""Runs every check and test of the repository and closes on `N passed, N failed`.

Called by `make test`. Says one line for each target, and everything about those that fail. Ends with
status 1 when anything failed.
"""

import os
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tools"))

from test_report import CargoReport, closing_line, skipped  # noqa: E402

# A run that is silent for this long hangs. Compiling and the longest test are far below.
SILENCE_SECS = 900
# How often a run that is still compiling says so.
STILL_ALIVE_SECS = 30
OUTPUT_LINES = 10_000


class Totals:
    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.names = []

    def add(self, name, passed, failed):
        self.passed += passed
        self.failed += failed
        if failed:
            self.names.append(name)


def say(text):
    print(text, flush=True)


def run(command, on_line, idle=lambda: None, environment=None):
    """Runs a command and hands out its lines; kills its process group when it goes silent."""
    child = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        env={**os.environ, **(environment or {})},
    )
    lines = queue.Queue(maxsize=OUTPUT_LINES)

    def read():
        for line in child.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    heard = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=STILL_ALIVE_SECS)
        except queue.Empty:
            if time.monotonic() - heard > SILENCE_SECS:
                on_line(f"killed: silent for {SILENCE_SECS} s\n")
                os.killpg(child.pid, signal.SIGKILL)
                return child.wait() or 1
            idle()
            continue
        if line is None:
            return child.wait()
        heard = time.monotonic()
        on_line(line)


def check(totals, name, command):
    """A command that passes by its exit status."""
    lines = []
    started = time.monotonic()
    status = run(command, lines.append, lambda: say(f"  ...  {name}"))
    took = time.monotonic() - started
    if status == 0:
        left_out = skipped(lines)
        for what in left_out:
            say(f"  skip {what}")
        # A part that was left out is said; a check that checked nothing does not count.
        if any(f"{name} (" in what for what in left_out):
            return
        say(f"  ok   {name} ({took:.0f} s)")
        totals.add(name, 1, 0)
        return
    say("".join(lines[-400:]).rstrip())
    say(f"  FAIL {name}")
    totals.add(name, 0, 1)


def cargo_tests(totals):
    started = time.monotonic()

    def on_target(name, passed, failed, lines):
        for what in skipped(lines):
            say(f"  skip {what}")
        if failed:
            say("\n".join(lines))
            say(f"  FAIL {name}: {passed} passed, {failed} failed")
            totals.names.append(name)
        elif passed:
            say(f"  ok   {name}: {passed} passed")

    report = CargoReport(on_target)

    def still_alive():
        took = time.monotonic() - started
        say(f"  ...  {took:.0f} s, {report.compiled} crates compiled, {report.passed} tests passed")

    status = run(
        ["cargo", "test", "--workspace", "--locked", "--no-fail-fast"],
        report.line, still_alive, {"STERNA_BIN": binary(), "RUST_BACKTRACE": "1"},
    )
    for line in report.finish(status):
        say(line)
    if report.ignored:
        report.failed += report.ignored
        totals.names.append("ignored tests")
    if report.failed and not totals.names:
        totals.names.append("cargo test")
    totals.passed += report.passed
    totals.failed += report.failed


def tool_tests(totals):
    """The tests of these tools themselves."""
    suite = unittest.defaultTestLoader.discover(os.path.join(ROOT, "tests", "tools"), "test_*.py")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        result = unittest.TextTestRunner(stream=nowhere).run(suite)
    bad = result.failures + result.errors
    for _, trace in bad:
        say(trace)
    passed = result.testsRun - len(bad)
    say(f"  {'FAIL' if bad else 'ok  '} tests/tools: {passed} passed")
    totals.add("tests/tools", passed, len(bad))


def suite(totals, name, command):
    """A suite that closes on `N passed, N failed`."""
    lines = []

    def on_line(line):
        lines.append(line)
        say("  " + line.rstrip())

    status = run(command, on_line, environment={"STERNA_BIN": binary()})
    passed, failed = closing_line(lines, status)
    totals.add(name, passed, failed)


def binary():
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    return os.path.join(target, "debug", "sterna")


def main():
    totals = Totals()
    started = time.monotonic()
    # Floods hold thousands of connections open.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    say("tools")
    tool_tests(totals)
    say("format")
    check(totals, "cargo fmt --check", ["cargo", "fmt", "--all", "--check"])
    say("build")
    check(totals, "cargo build", ["cargo", "build", "--workspace", "--bins", "--locked"])
    say("tests")
    cargo_tests(totals)
    say("planted bugs")
    check(totals, "planted bugs", [
        "cargo", "test", "--locked", "-q", "-p", "sterna-simulation", "--features", "planted",
        "--test", "planted", "--test", "planted_clusters"])
    say("the TypeScript client")
    suite(totals, "sdk/typescript", ["tools/typescript.sh"])
    say("pages in a browser")
    suite(totals, "console", ["tools/console.sh"])
    say("other clients")
    suite(totals, "tests/interop", ["tests/interop/run.sh"])
    say("a cluster on one machine")
    suite(totals, "tests/deploy", [sys.executable, "-B", "tests/deploy/run.py"])
    say("lints")
    check(totals, "cargo clippy", [
        "cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    check(totals, "cargo deny", ["tools/deny.sh"])
    say("instructions")
    check(totals, "instructions", ["tools/instructions.py"])
    took = time.monotonic() - started
    say(f"took {took / 60:.0f} min {took % 60:.0f} s")
    for name in totals.names:
        say(f"failed: {name}")
    say(f"{totals.passed} passed, {totals.failed} failed")
    return 1 if totals.failed or not totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())
