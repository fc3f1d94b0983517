#!/usr/bin/env python3
"""What tests/autobahn/run.sh tells the suite, and what the suite tells us.

    report.py binary              the test binary, out of cargo's messages on standard input
    report.py spec PORT FOLDER    the suite's specification
    report.py result INDEX        counts; ends with status 1 unless everything is as it has to be
"""

import json
import sys

# Messages above a frame's limit of 256 KiB are refused, which is what the node promises; there is
# no compression (12, 13).
CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.1", "9.1.2", "9.2.1", "9.2.2",
         "9.7.*", "9.8.*", "10.*"]
# As many cases as these are, so that a run that ended early is none.
COUNT = 263
# Allowed by the suite, and known: text that is wrong in the middle of a frame is refused at the end
# of that frame.
NON_STRICT = {"6.4.3", "6.4.4"}
AGENT = "sterna"


def binary():
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            return print(message["executable"])
    sys.exit("cargo has built no test")


def spec(port, folder):
    server = {"agent": AGENT, "url": f"wss://127.0.0.1:{port}/v1/connect",
              "protocols": ["sterna.v1.protobuf"]}
    print(json.dumps({"outdir": f"{folder}/reports", "servers": [server], "cases": CASES,
                      "exclude-cases": [], "exclude-agent-cases": {}}))


def result(index):
    with open(index, encoding="utf-8") as file:
        cases = json.load(file)[AGENT]
    kinds, failed = {}, 0
    for name in sorted(cases, key=lambda name: [int(part) for part in name.split(".")]):
        case = cases[name]
        kind, close = case["behavior"], case["behaviorClose"]
        for key in (kind, "close " + close):
            kinds[key] = kinds.get(key, 0) + 1
        good = kind in ("OK", "INFORMATIONAL") or (kind == "NON-STRICT" and name in NON_STRICT)
        good = good and close in ("OK", "INFORMATIONAL")
        failed += not good
        if kind not in ("OK", "INFORMATIONAL") or not good:
            mark = "" if good else "FAIL "
            print(f"{mark}{name}: {kind}, close {close} ({case['remoteCloseCode']})")
    if len(cases) != COUNT:
        print(f"FAIL {len(cases)} cases instead of {COUNT}")
        failed += 1
    print(", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    print(f"{max(len(cases) - failed, 0)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit({"binary": binary, "spec": spec, "result": result}[sys.argv[1]](*sys.argv[2:]))
