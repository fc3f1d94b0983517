"""Clients through the balancers of `deploy/balancer`, and what becomes of them when an edge goes."""

import os
import signal
from contextlib import contextmanager

from balancer import EDGES, Balancer, Path
from local import fresh_channel, next_text, texts, wait_for
from plain import PlainClient


def case_nginx_carries_wss_and_gets_over_a_lost_edge(cluster):
    with Balancer(cluster, "nginx-wss.conf") as balancer:
        gets_over_a_lost_edge(cluster, balancer, lambda: None)


def case_haproxy_carries_wss_and_gets_over_a_lost_edge(cluster):
    with Balancer(cluster, "haproxy-wss.cfg") as balancer:
        # A status of HTTP: what was asked was /readyz, not whether the port is open.
        wait_for("both edges are ready for HAProxy",
                 lambda: list(balancer.checks().values()) == ["L7OK", "L7OK"])

        def sees_it():
            wait_for("HAProxy sees that one edge is lost", lambda: (
                checks := list(balancer.checks().values())).count("L7OK") == 1 and "L4CON" in checks)

        gets_over_a_lost_edge(cluster, balancer, sees_it)


def case_balancers_carry_plain_http_to_one_edge_and_keep_nothing_back(cluster):
    for configuration in ("nginx-wss.conf", "haproxy-wss.cfg"):
        with Balancer(cluster, configuration) as balancer, \
                PlainClient(cluster, balancer.port, "ana") as client:
            # Each on a connection of its own; what is answered is read while the answer goes on.
            for _ in range(20):
                assert "pong" in client.ask("ping", {})
            publish = {"channel": fresh_channel(), "payload": "MQ==", "clientSeq": "1"}
            assert client.ask("publish", publish)["published"]["offset"] == "1"


def gets_over_a_lost_edge(cluster, balancer, on_lost):
    """What a subscriber misses while its edge is killed reaches it through the other one."""
    channel = fresh_channel()
    wait_for("nobody else is connected", lambda: not edge_with_clients(cluster))
    subscriber = cluster.subscribe(balancer.port, channel, 2, "wss")
    serving = wait_for("an edge has the subscriber", lambda: edge_with_clients(cluster))
    cluster.publish(balancer.port, channel, "before", "wss")
    other = next(edge for edge in EDGES if edge != serving)
    handshakes = cluster.metric(other, "sterna_edge_handshakes_total")
    with lost(cluster, serving):
        on_lost()
        cluster.publish(balancer.port, channel, "after", "wss")
        assert texts(subscriber) == ["before", "after"]
        # The subscriber, and who published.
        assert cluster.metric(other, "sterna_edge_handshakes_total") >= handshakes + 2
    wait_for("all are ready again", lambda: cluster.verb("status")[0] == 0)


def case_nginx_carries_quic_and_a_port_may_change(cluster):
    channel = fresh_channel()
    with Balancer(cluster, "nginx-quic-stream.conf") as balancer, Path(balancer.port) as path:
        wait_for("nobody else is connected", lambda: not edge_with_clients(cluster))
        receiver = cluster.subscribe(cluster.client_port("edge-3"), channel, 2)
        with cluster.publisher(path.port, channel, "quic") as publish:
            publish("before")
            assert next_text(receiver) == "before"
            serving = edge_with_clients(cluster)
            changes = cluster.metric(serving, "sterna_edge_path_changes_total")
            handshakes = sum_of_handshakes(cluster)
            path.change()
            publish("after")
            assert next_text(receiver) == "after"
            # Its own edge sees the connection on a new path, once that is proven, and no edge a new
            # connection.
            metric = "sterna_edge_path_changes_total"
            wait_for("the new path", lambda: cluster.metric(serving, metric) > changes)
            assert sum_of_handshakes(cluster) == handshakes
        assert texts(receiver) == []


def sum_of_handshakes(cluster):
    return sum(cluster.metric(edge, "sterna_edge_handshakes_total") for edge in EDGES)


def edge_with_clients(cluster):
    return next((edge for edge in EDGES
                 if cluster.metric(edge, "sterna_edge_connections_active") > 0), None)


@contextmanager
def lost(cluster, name):
    """A process is killed, and the supervisor stands still so that it stays lost."""
    pids = cluster.pids()
    os.kill(pids["supervisor"], signal.SIGSTOP)
    try:
        os.kill(pids[name], signal.SIGKILL)
        yield
    finally:
        os.kill(pids["supervisor"], signal.SIGCONT)
        wait_for("it is started again", lambda: cluster.pids()[name] != pids[name])
