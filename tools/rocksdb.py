"""The environment in which cargo links the RocksDB of tools/rocksdb.sh. Without it every profile
compiles its own, which takes ten minutes and more."""

import os
import shlex
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def environment():
    """The variables of this process and those that cargo needs."""
    if "ROCKSDB_LIB_DIR" in os.environ:
        return dict(os.environ)
    command = [os.path.join(ROOT, "tools", "rocksdb.sh"), "--env"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    words = shlex.split(done.stdout.replace(";", " "))
    return {**os.environ, **dict(word.split("=", 1) for word in words if "=" in word)}
