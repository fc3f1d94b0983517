"""Processes named by id and start time, so that a signal never reaches a stranger who got an old id."""

import os
import signal
import time

POLL_SECS = 0.05


def start_time(pid):
    """Clock ticks from boot to the start of a process; None when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            # The name in brackets may hold anything, brackets and blanks too.
            fields = stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_running(identity):
    pid, started = identity
    return start_time(pid) == started


def send(identity, number):
    """Sends a signal to this very process; says whether it was still there."""
    try:
        # From here on the id cannot pass to another process unnoticed.
        handle = os.pidfd_open(identity[0])
    except ProcessLookupError:
        return False
    try:
        if not is_running(identity):
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def end(identities, patience_secs):
    """Tells processes to end, and kills those that have not after so long. Returns those."""
    left = [it for it in identities if send(it, signal.SIGTERM)]
    deadline = time.monotonic() + patience_secs
    while left and time.monotonic() < deadline:
        time.sleep(POLL_SECS)
        left = [it for it in left if is_running(it)]
    for identity in left:
        send(identity, signal.SIGKILL)
    while any(is_running(it) for it in left):
        time.sleep(POLL_SECS)
    return left
