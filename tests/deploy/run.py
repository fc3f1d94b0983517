#!/usr/bin/env python3
"""Runs every case of this folder against one cluster, started and ended as `make cluster` does it.
The last line is `N passed, N failed`; a word on the command line chooses cases. STERNA_BIN names the
binary."""

import inspect
import sys
import time
import traceback

import cases_balancers
import cases_cluster
from local import Cluster


def cases(wanted):
    for module in (cases_cluster, cases_balancers):
        for name, case in vars(module).items():
            if name.startswith("case_") and inspect.isfunction(case):
                if not wanted or any(word in name for word in wanted):
                    yield name, case


def start(cluster):
    status, said = cluster.verb("start")
    assert status == 0, said
    assert len(said.splitlines()) < 15, said


def end(cluster):
    status, said = cluster.verb("stop")
    assert status == 0 and not cluster.remains(), said + "\n".join(cluster.remains())


def passes(name, case, cluster):
    started = time.monotonic()
    try:
        case(cluster)
    except Exception:
        traceback.print_exc(file=sys.stdout)
        print(f"FAIL {name}", flush=True)
        return False
    finally:
        cluster.end_clients()
    print(f"ok   {name} ({time.monotonic() - started:.1f} s)", flush=True)
    return True


def main(wanted):
    cluster = Cluster()
    results = []
    try:
        results.append(passes("the cluster starts", start, cluster))
        if results[0]:
            results += [passes(name, case, cluster) for name, case in cases(wanted)]
        if not all(results) and results[0]:
            print(cluster.logs())
    finally:
        results.append(passes("the cluster ends without a trace", end, cluster))
        cluster.remove()
    failed = results.count(False)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
