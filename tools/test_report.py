"""Reads the output of test runners, line by line, and counts truthfully.

Used by run_tests.py. A test binary that says nothing about its end, and a run that fails without a
failed test, count as failed: an unknown outcome is never a pass.
"""

import re

RUNNING = re.compile(r"^\s+(?:Running|Doc-tests) (.+)$")
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
# The name of a test that runs alone stands before it on the line.
SKIPPED = re.compile(r"(?:^|^test .+ \.\.\. )skipped: *(.+)$")
CLOSING = re.compile(r"^(\d+) passed, (\d+) failed$")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class CargoReport:
    """Counts `cargo test` output. `on_target(name, passed, failed, lines)` hears of each end."""

    def __init__(self, on_target=lambda *_: None):
        self.passed = 0
        self.failed = 0
        self.ignored = 0
        self.compiled = 0
        self._on_target = on_target
        self._target = None
        self._lines = []
        self._preamble = []

    def line(self, raw):
        text = ANSI.sub("", raw.rstrip("\n"))
        running = RUNNING.match(text)
        if running:
            self._end_unfinished()
            self._target = running.group(1)
            self._lines = []
            return
        if re.match(r"^\s+Compiling ", text):
            self.compiled += 1
        result = RESULT.match(text)
        if result and self._target is not None:
            passed, failed, ignored = (int(group) for group in result.groups())
            self._end(passed, failed, ignored)
            return
        (self._lines if self._target is not None else self._preamble).append(text)

    def finish(self, status):
        """To be called once with cargo's exit status. Returns lines that explain a failure."""
        self._end_unfinished()
        if status != 0 and self.failed == 0:
            self.failed += 1
            return [line for line in self._preamble if line][-80:]
        return []

    def _end(self, passed, failed, ignored):
        self.passed += passed
        self.failed += failed
        self.ignored += ignored
        self._on_target(self._target, passed, failed, self._lines)
        self._target = None

    def _end_unfinished(self):
        if self._target is not None:
            self._lines.append("the test binary ended without a result")
            self._end(0, 1, 0)


def skipped(lines):
    """What a check or a test that passes has left out, and why."""
    found = (SKIPPED.match(line.rstrip("\n")) for line in lines)
    return [match.group(1).strip() for match in found if match]


def closing_line(lines, status):
    """Counts of a suite that closes on `N passed, N failed`."""
    for text in reversed(lines):
        closing = CLOSING.match(text.strip())
        if closing:
            passed, failed = int(closing.group(1)), int(closing.group(2))
            return passed, failed + (1 if status != 0 and failed == 0 else 0)
    return 0, 1
