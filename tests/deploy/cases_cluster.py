"""A cluster of one machine carries publications between its regions and gets over a lost core."""

import os
import signal

from local import fresh_channel, texts, wait_for


def case_regions_hear_each_other(cluster):
    channel = fresh_channel()
    west = cluster.subscribe(cluster.client_port("edge-3"), channel, 1)
    cluster.publish(cluster.client_port("edge-1"), channel, "from the east")
    assert texts(west) == ["from the east"]


def case_every_edge_serves_both_transports(cluster):
    channel = fresh_channel()
    for edge in ("edge-1", "edge-2", "edge-3", "edge-4"):
        for transport in ("quic", "wss"):
            cluster.publish(cluster.client_port(edge), channel, f"{edge} {transport}", transport)
    received = cluster.receive(cluster.client_port("edge-4"), channel, 8)
    assert received[0] == "edge-1 quic" and received[-1] == "edge-4 wss", received
    assert len(set(received)) == 8, received


def case_a_second_start_says_so(cluster):
    before = cluster.pids()
    status, said = cluster.verb("start")
    assert status == 1 and "runs already" in said, said
    assert cluster.pids() == before


def case_status_shows_every_process_ready(cluster):
    status, said = cluster.verb("status")
    assert status == 0, said
    assert said.count(" ready\n") == 11, said


def case_operators_see_all_nodes_at_any(cluster):
    for name in ("core-1", "edge-4"):
        nodes = cluster.operator(name, "top", "--once")["cluster"]["nodes"]
        states = {node["name"]: node["state"] for node in nodes}
        assert len(states) == 7 and set(states.values()) == {"serving"}, states
        assert "<title>" in cluster.get(name, "/console/")


def case_pages_of_any_origin_may_connect(cluster):
    for edge in ("edge-1", "edge-3"):
        assert cluster.upgrade(edge, origin="http://localhost:5173") == 101


def case_a_core_that_ends_is_started_again(cluster):
    """Whether killed or told to end; what was published meanwhile is not lost."""
    channel = fresh_channel()
    for number, how in enumerate((signal.SIGKILL, signal.SIGTERM)):
        old = cluster.pids()["core-1"]
        os.kill(old, how)
        cluster.publish(cluster.client_port("edge-1"), channel, f"text {number}")
        wait_for("core-1 runs again", lambda: cluster.pids()["core-1"] != old)
        wait_for("all are ready again", lambda: cluster.verb("status")[0] == 0)
    received = cluster.receive(cluster.client_port("edge-3"), channel, 2)
    assert received == ["text 0", "text 1"], received


def case_what_was_published_outlives_stop_and_start(cluster):
    channel = fresh_channel()
    cluster.publish(cluster.client_port("edge-2"), channel, "before")
    status, said = cluster.verb("stop")
    assert status == 0 and "killed" not in said, said
    assert not cluster.remains(), cluster.remains()
    status, said = cluster.verb("start")
    assert status == 0, said
    assert len(said.splitlines()) < 15, said
    assert cluster.receive(cluster.client_port("edge-4"), channel, 1) == ["before"]


def case_a_failed_start_shows_why_and_leaves_nothing(cluster):
    """A node whose configuration has an error, by way of a mistake like a person's."""
    path = cluster.path("edge-4.toml")
    with open(path, encoding="utf-8") as file:
        good = file.read()
    assert cluster.verb("stop")[0] == 0
    with open(path, "w", encoding="utf-8") as file:
        file.write(good.replace("[http]\naddress", "[http]\nadress"))
    try:
        status, said = cluster.verb("start")
        assert status == 1 and "edge-4 ended" in said and "adress" in said, said
        assert not cluster.remains(), cluster.remains()
    finally:
        with open(path, "w", encoding="utf-8") as file:
            file.write(good)
    status, said = cluster.verb("start")
    assert status == 0, said


def case_stop_ends_what_a_lost_supervisor_left(cluster):
    os.kill(supervisor := cluster.pids()["supervisor"], signal.SIGKILL)
    wait_for("it is gone", lambda: not os.path.exists(f"/proc/{supervisor}/exe"))
    status, said = cluster.verb("start")
    assert status == 1 and "runs already (11 processes)" in said, said
    status, said = cluster.verb("stop")
    assert status == 0 and "ended 11 processes" in said, said
    assert not cluster.remains(), cluster.remains()
    status, said = cluster.verb("stop")
    assert status == 0 and "no cluster runs" in said, said
    status, said = cluster.verb("start")
    assert status == 0, said
