#!/usr/bin/env python3
"""Counts the instructions of the hot paths under callgrind and compares them with the counts that
are committed (bench/instructions/counts.json): more than 5 % apart is a failure, in both
directions, so that a gain that is not accepted does not hide the next loss.

    tools/instructions.py [--accept] [PATH...]

Counts are only comparable with the same compiler, the same valgrind and C library and a processor
with the same instructions for hashes and checksums; elsewhere one line says so and nothing is
compared. Only our own packages are optimised, everything else is taken from the debug build as it
is: see OPTIMISED.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys

import rocksdb

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COUNTS = os.path.join(ROOT, "bench", "instructions", "counts.json")
TOLERANCE = 0.05
# These are compiled anew with the optimisation of a release, what depends on them anew without; all
# else comes out of target/debug, which CI has built for its tests anyway. A release build of
# everything would cost minutes, and cryptography is optimised in every build.
OPTIMISED = ["bytes", "prost",
             "sterna-proto", "sterna-storage", "sterna-storage-rocks", "sterna-core", "sterna-edge",
             "sterna-instructions"]
SETTINGS = ["opt-level=3", "codegen-units=1", "debug-assertions=false", "overflow-checks=false"]
# Repeats that take a second or so each; counts are for one.
REPEATS = {"hub_delivery": 5, "recovery_page": 20, "sequence_batch": 50, "publication_round": 50,
           "store_commit": 50, "fanout_round": 20}
MOST_REPEATS = 500
# Whose presence changes which code is chosen at run time.
CPU_FLAGS = {"sse4_2", "avx", "avx2", "aes", "pclmulqdq", "bmi2", "adx"}


def environment():
    """What has to be the same for counts to be comparable."""
    def first_line(command):
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        return done.stdout.splitlines()[0]

    flags = set()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("flags"):
                flags = set(line.split(":")[1].split())
                break
    return {"rustc": first_line(["rustc", "--version"]),
            "valgrind": first_line(["valgrind", "--version"]),
            "machine": platform.machine(), "libc": " ".join(platform.libc_ver()),
            "cpu": " ".join(sorted(CPU_FLAGS & flags))}


def build():
    command = ["cargo", "build", "--locked", "-p", "sterna-instructions", "--message-format=json"]
    for package in OPTIMISED:
        for setting in SETTINGS:
            command += ["--config", f"profile.dev.package.{package}.{setting}"]
    variables = {**rocksdb.environment(), "CARGO_INCREMENTAL": "0"}
    done = subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "sterna-instructions":
            return message["executable"]
    sys.exit("cargo has built no sterna-instructions")


def count(binary, path):
    """Instructions of one repeat."""
    repeats = REPEATS.get(path, MOST_REPEATS)
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
         "--toggle-collect=*measured*", binary, path, str(repeats)],
        cwd=ROOT, capture_output=True, text=True, errors="replace")
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not collected or collected[1] == "0":
        sys.exit(f"{path} was not counted:\n{done.stderr[-2000:]}")
    return round(int(collected[1]) / repeats)


def compare(name, found, committed):
    """One line; true when the path is where it was."""
    if committed is None:
        print(f"  FAIL {name}: {found:,}, and no count is committed")
        return False
    change = found / committed - 1
    good = abs(change) <= TOLERANCE
    print(f"  {'ok  ' if good else 'FAIL'} {name}: {found:,} ({change:+.1%} of {committed:,})")
    return good


def main():
    parser = argparse.ArgumentParser(description="Counts the instructions of the hot paths.")
    parser.add_argument("--accept", action="store_true", help="commit to the counts found now")
    parser.add_argument("paths", nargs="*", help="all unless named")
    wanted = parser.parse_args()
    if not shutil.which("valgrind"):
        print("skipped: instructions (valgrind is not installed)")
        return 0
    here = environment()
    committed = {"environment": None, "counts": {}}
    if os.path.exists(COUNTS):
        with open(COUNTS, encoding="utf-8") as file:
            committed = json.load(file)
    if not wanted.accept and committed["environment"] != here:
        there = committed["environment"] or {}
        differ = [f"{key} is {value}, the counts are of {there.get(key)}"
                  for key, value in here.items() if there.get(key) != value]
        print(f"skipped: instructions ({'; '.join(differ)}; renew them with --accept)")
        return 0
    binary = build()
    listing = subprocess.run([binary], capture_output=True, text=True, check=True)
    names = [name for name in listing.stdout.split() if name in wanted.paths or not wanted.paths]
    found = {name: count(binary, name) for name in names}
    if wanted.accept:
        counts = {**(committed["counts"] if wanted.paths else {}), **found}
        with open(COUNTS, "w", encoding="utf-8") as file:
            json.dump({"environment": here, "counts": counts}, file, indent=2)
            file.write("\n")
    results = [compare(name, found[name], committed["counts"].get(name)) for name in names]
    if wanted.accept:
        print(f"accepted {len(found)} counts")
        return 0
    if not all(results) or not names:
        print("a change that is meant to be: tools/instructions.py --accept, and say why")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
