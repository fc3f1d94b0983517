"""What tells that a process of the cluster does its work. Each probe returns None when all is well,
else the reason why not."""

import socket
import urllib.error
import urllib.request

HOST = "127.0.0.1"
TIMEOUT_SECS = 2


def probe(process):
    kind, port = process["probe"], process["port"]
    try:
        return PROBES[kind](port)
    except OSError as error:
        return str(error)


def node(port):
    """`/readyz` of a node."""
    try:
        # Not through a proxy that the environment may name.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://{HOST}:{port}/readyz", timeout=TIMEOUT_SECS):
            return None
    except urllib.error.HTTPError as error:
        return error.read().decode(errors="replace").strip()


def mariadb(port):
    """The server greets whom it would serve; it does so after its first SQL has been carried out."""
    with socket.create_connection((HOST, port), TIMEOUT_SECS) as connection:
        greeting = connection.recv(5)
    return None if greeting[4:] == b"\x0a" else "no greeting"


def redis(port):
    with socket.create_connection((HOST, port), TIMEOUT_SECS) as connection:
        connection.sendall(b"PING\r\n")
        answer = connection.recv(64)
    return None if answer == b"+PONG\r\n" else answer.decode(errors="replace").strip()


PROBES = {"node": node, "mariadb": mariadb, "redis": redis}
