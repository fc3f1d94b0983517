"""Runs every case of this folder against one node. The last line is `N passed, N failed`."""

import asyncio
import inspect
import os
import sys
import time
import traceback

import cases_browser
import cases_clients
import cases_hostile
import cases_hostile_quic
import cases_ngtcp2
import cases_paths
import cases_webtransport
from node import Node

CASE_SECS = 60


def cases(wanted):
    for module in (cases_browser, cases_clients, cases_hostile, cases_hostile_quic, cases_ngtcp2,
                   cases_paths, cases_webtransport):
        for name, case in inspect.getmembers(module, inspect.iscoroutinefunction):
            if name.startswith("test_") and (not wanted or any(w in name for w in wanted)):
                yield name, case


async def run(case, node):
    try:
        await asyncio.wait_for(case(node), CASE_SECS)
        return None
    except Exception:
        return traceback.format_exc()


async def main(wanted):
    passed, failed = 0, 0
    node = Node()
    try:
        await node.start()
    except Exception as error:
        print(error)
        print("0 passed, 1 failed")
        return 1
    if not os.environ.get("QUICHE_BIN"):
        print("skip the cases of quiche: it is not built (make interop)")
    if not cases_browser.BINARY:
        print("skip the cases of a browser: there is no chromium (make setup)")
    if not cases_ngtcp2.NGTCP2:
        print("skip the cases of ngtcp2: there is no gtlsclient (make setup)")
    for name, case in cases(wanted):
        started = time.monotonic()
        problem = await run(case, node)
        took = time.monotonic() - started
        if problem is None:
            passed += 1
            print(f"ok   {name} ({took:.1f} s)", flush=True)
        else:
            failed += 1
            print(problem, flush=True)
            print(f"FAIL {name} ({took:.1f} s)", flush=True)
    log = node.log()
    status = node.stop()
    if "panicked" in log or status != 0:
        failed += 1
        print(log[-8000:])
        print(f"FAIL the node ended with status {status}, or panicked on the way")
    else:
        passed += 1
        print("ok   the node ended well")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
