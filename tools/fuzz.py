#!/usr/bin/env python3
"""Runs the fuzz targets under libFuzzer, driven by coverage. `make test` runs the same targets
without it: the kept inputs, and a second or so of chance for each.

    tools/fuzz.py [--seconds N] [--keep] [TARGET...]

Builds the packages that have targets, with instrumentation, into a folder of their own, so that
other builds stay warm. New inputs gather beside that build. With --keep the smallest set of inputs
that covers as much replaces fuzz/corpus/<target>, all but those that somebody has given a name.
Needs a C++ compiler, for libFuzzer, and nothing but the stable toolchain. Ends with status 1 when a
target fails and says how to repeat it.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import rocksdb

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CORPUS = os.path.join(ROOT, "fuzz", "corpus")
# Where the targets are: only these test binaries link libFuzzer.
PACKAGES = {
    "sterna-proto": ["--test", "fuzz"],
    "sterna-core": ["--lib", "--test", "fuzz"],
    "sterna-storage": ["--lib"],
    "sterna-storage-archive": ["--lib"],
    "sterna-storage-object": ["--lib"],
    "sterna-storage-pages": ["--lib"],
    "sterna-storage-redis": ["--lib"],
    "sterna-storage-rocks": ["--lib"],
    "sterna-storage-scylla": ["--lib"],
    "sterna-storage-sql": ["--lib"],
    "sterna-client": ["--lib"],
    "sterna-edge": ["--lib"],
    "sterna": ["--bin", "sterna"],
}
# What cargo-fuzz asks of the compiler, without a sanitizer: those need another toolchain, and
# nothing here is unsafe.
FLAGS = ["-Cpasses=sancov-module", "-Cllvm-args=-sanitizer-coverage-level=4",
         "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
         "-Cllvm-args=-sanitizer-coverage-pc-table",
         "-Cllvm-args=-sanitizer-coverage-trace-compares", "-Ccodegen-units=1"]
# Longer inputs cover no more and are slow.
LONGEST = 1024
# An input that takes longer hangs.
TIMEOUT_SECS = 10
# A kept corpus stays readable and quick to replay.
MOST_KEPT = 60


def build_folder():
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    return os.path.join(target, "fuzz")


def host():
    version = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True)
    return re.search(r"host: (\S+)", version.stdout)[1]


def build(package):
    """The test binaries of a package with targets: (binary, its package's folder)."""
    # A target is named so that build scripts and macros are not instrumented.
    command = ["cargo", "test", "--locked", "--no-run", "--message-format=json",
               "--target", host(), "--features", "sterna-fuzz/libfuzzer", "-p", package]
    environment = {**rocksdb.environment(), "RUSTFLAGS": " ".join(FLAGS), "CARGO_INCREMENTAL": "0",
                   "CARGO_TARGET_DIR": build_folder(), "CARGO_PROFILE_DEV_OPT_LEVEL": "1"}
    done = subprocess.run(command + PACKAGES[package], cwd=ROOT, env=environment,
                          stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            yield message["executable"], os.path.dirname(message["manifest_path"])


def targets(binaries):
    """Every test that is called fuzz_<target>: (target, binary, name of the test, folder)."""
    for binary, folder in binaries:
        listing = subprocess.run([binary, "--list"], cwd=folder, capture_output=True, text=True)
        for test in re.findall(r"^(\S+): test$", listing.stdout, re.M):
            target = re.match(r"(?:.*::)?fuzz_(\w+)$", test)
            if target and os.path.isdir(os.path.join(CORPUS, target[1])):
                yield target[1], binary, test, folder


def drive(binary, test, folder, arguments):
    """Runs libFuzzer in a test binary, behind a script that takes its arguments."""
    script = os.path.join(build_folder(), f"drive-{os.path.basename(binary)}")
    with open(script, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\ncd {shlex.quote(folder)}\nSTERNA_FUZZ_LIBFUZZER="$0 $*" '
                   f'exec {shlex.quote(binary)} --exact "$STERNA_FUZZ_TEST" --nocapture '
                   f'--test-threads=1\n')
    os.chmod(script, 0o755)
    return subprocess.run([script, *arguments], env={**os.environ, "STERNA_FUZZ_TEST": test},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")


def fuzz(target, binary, test, folder, seconds):
    """Runs one target; true when nothing was found."""
    found = os.path.join(build_folder(), "found", target)
    failing = os.path.join(build_folder(), "failing")
    os.makedirs(found, exist_ok=True)
    os.makedirs(failing, exist_ok=True)
    done = drive(binary, test, folder, [
        f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={TIMEOUT_SECS}",
        "-print_final_stats=1", "-use_value_profile=1",
        f"-artifact_prefix={failing}/{target}-", found, os.path.join(CORPUS, target)])
    executions = re.search(r"number_of_executed_units: (\d+)", done.stdout)
    covered = re.findall(r"cov: (\d+)", done.stdout)
    count = int(executions[1]) if executions else 0
    edges = covered[-1] if covered else "?"
    print(f"  {'ok  ' if done.returncode == 0 else 'FAIL'} {target}: {count:,} executions, "
          f"{edges} edges", flush=True)
    if done.returncode:
        print(done.stdout[-3000:])
        print(f"  again: cp the input named above into fuzz/corpus/{target}/ and run "
              f"cargo test fuzz_{target}")
    return done.returncode == 0, count


def keep(target, binary, test, folder):
    """Replaces the kept inputs by the smallest set that covers as much."""
    found = os.path.join(build_folder(), "found", target)
    smallest = os.path.join(build_folder(), "smallest", target)
    kept = os.path.join(CORPUS, target)
    shutil.rmtree(smallest, ignore_errors=True)
    os.makedirs(smallest)
    done = drive(binary, test, folder, ["-set_cover_merge=1", smallest, kept, found])
    names = sorted(os.listdir(smallest), key=lambda name: os.path.getsize(f"{smallest}/{name}"))
    if done.returncode or not names:
        sys.exit(f"{target}: the inputs could not be merged\n{done.stdout[-2000:]}")
    by_hand = [name for name in os.listdir(kept) if not re.fullmatch("[0-9a-f]{12}", name)]
    for name in set(os.listdir(kept)) - set(by_hand):
        os.remove(os.path.join(kept, name))
    # Whole documents are larger than what reaches one branch more, and mutations start from them.
    names = names[:max(MOST_KEPT - len(by_hand), 0)]
    for name in names:
        shutil.copy(os.path.join(smallest, name), os.path.join(kept, name[:12]))
    print(f"  kept {len(names)} inputs of {target}, and {len(by_hand)} with names", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--keep", action="store_true", help="renew the kept inputs afterwards")
    parser.add_argument("--package", action="append", choices=list(PACKAGES),
                        help="only the targets of this package")
    parser.add_argument("targets", nargs="*", help="all unless named")
    wanted = parser.parse_args()
    good, total, ran = True, 0, set()
    packages = wanted.package or PACKAGES
    binaries = [binary for package in packages for binary in build(package)]
    for target, binary, test, folder in targets(binaries):
        if wanted.targets and target not in wanted.targets:
            continue
        ran.add(target)
        fine, count = fuzz(target, binary, test, folder, wanted.seconds)
        good, total = good and fine, total + count
        if fine and wanted.keep:
            keep(target, binary, test, folder)
    for missing in set(wanted.targets) - ran:
        print(f"  FAIL {missing}: there is no such target")
        good = False
    print(f"{len(ran)} targets, {total:,} executions")
    return 0 if good and ran else 1


if __name__ == "__main__":
    sys.exit(main())
