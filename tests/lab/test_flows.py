"""`postern flows` and the connector's ANALYTICS lines: what is said about connections is what they did."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from lab import probes, topology
from lab.postern import Postern
from lab.testbed import Lab, await_true

CHANGE_SECONDS = 5.0
CLOSED = 8081
STALL_MS = 1000.0

_STAY = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 80), timeout=30)
connection.sendall(b"GET /big HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n")
print(len(connection.recv(1000)), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module", autouse=True)
def talkative_connector(lab: Lab, postern: Postern) -> Iterator[None]:
    """A connector that prints analytics, and a resource with a port that is closed."""
    postern.add_resource("ports", topology.TARGET_NAME, tcp=str(CLOSED))
    postern.grant("ports")
    lab.stop("postern-connector")
    tokens = json.loads((lab.run_dir / "connector-tokens.json").read_text("utf-8"))
    environment = {f"POSTERN_{key.upper()}": value for key, value in tokens.items()}
    environment["POSTERN_LOG_ANALYTICS"] = "v2"
    lab.host("connector").spawn("postern-connector", "postern-connector", env=environment, user=(992, 992))
    await_true("the connector is healthy", postern.connector_is_healthy, 20)
    works = lambda: probes.connect(postern.laptop, "nginx.home.lan", 80) == "open"  # noqa: E731
    await_true("nginx is reached again", works, 20)
    yield


def _flows(postern: Postern) -> list[dict[str, Any]]:
    answer = json.loads(postern.client("flows", "--json").stdout)
    flows: list[dict[str, Any]] = answer["flows"]
    assert answer["living"] == sum(flow["ended_ago_ms"] is None for flow in flows)
    return flows


def _analytics(lab: Lab) -> list[dict[str, Any]]:
    lines = lab.log("postern-connector").splitlines()
    return [json.loads(line.split(" ", 1)[1]) for line in lines if line.startswith("ANALYTICS ")]


def test_a_connection_that_ended_is_listed_with_what_it_did(lab: Lab, postern: Postern) -> None:
    assert postern.laptop.output("curl", "-sS", "http://nginx.home.lan/nonce") == lab.nonce
    await_true("it has ended", lambda: _flows(postern)[0]["state"] == "closed", CHANGE_SECONDS)
    flow = _flows(postern)[0]
    assert flow["user"] == postern.user_email
    known = {"resource": "web", "destination": "nginx.home.lan:80", "protocol": "tcp", "connector": "attic"}
    assert flow.items() >= known.items()
    assert flow["connected"] == f"{topology.NGINX}:80"
    assert (flow["path"], flow["transport"]) in (("relay", "udp"), ("direct", "udp"))
    assert flow["bytes_down"] > len(lab.nonce) and 0 < flow["bytes_up"] < 1000
    assert 0 <= flow["connect_ms"] <= flow["open_ms"] <= flow["first_byte_ms"] <= flow["age_ms"]
    assert flow["rtt_ms"] > 0


def test_refusals_are_listed_with_their_reason(postern: Postern) -> None:
    assert probes.connect(postern.laptop, topology.TARGET_NAME, CLOSED) == "refused"
    assert _flows(postern)[0]["state"] == "refused_by_target"
    assert probes.connect(postern.laptop, "nginx.home.lan", 81) != "open"
    assert _flows(postern)[0]["state"] == "port_not_allowed"


def test_a_program_that_does_not_read_is_named_as_the_cause(postern: Postern) -> None:
    program = ["/usr/bin/python3", "-c", _STAY, "nginx.home.lan"]
    running = postern.laptop.popen(*program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:

        def stalls() -> bool:
            living = [flow for flow in _flows(postern) if flow["ended_ago_ms"] is None]
            return bool(living) and living[0]["stalls"]["slow_reader_ms"] > STALL_MS

        await_true("the stall is seen", stalls, 20)
        shown = postern.client("flows").stdout
        assert "slow reader" in shown and "RESOURCE" in shown
    finally:
        running.kill()
        running.wait()


def test_what_people_do_is_not_shown_to_everybody(postern: Postern) -> None:
    command = ["postern", "--socket", "/run/postern/posternd.sock", "flows"]
    stranger = postern.laptop.run("setpriv", "--reuid=4343", "--regid=4343", "--clear-groups", *command, check=False)
    assert stranger.returncode == 6 and "nginx" not in stranger.stdout + stranger.stderr


def test_the_connector_prints_opened_closed_and_failed_connections(lab: Lab, postern: Postern) -> None:
    def kinds() -> set[str]:
        return {event["event_type"] for event in _analytics(lab)}

    expected = {"established_connection", "closed_connection", "failed_to_connect"}
    await_true("all three have been printed", lambda: kinds() >= expected, CHANGE_SECONDS)
    failed = next(event for event in _analytics(lab) if event["event_type"] == "failed_to_connect")
    assert failed["connection"]["resource_port"] == CLOSED
    assert "REFUSED" in failed["connection"]["error_message"]
    assert failed["user"]["email"] == postern.user_email
    closed = [event for event in _analytics(lab) if event["event_type"] == "closed_connection"]
    assert any(event["connection"]["tx"] > 0 and event["connection"]["rx"] > 0 for event in closed)


def test_the_connectors_lines_say_which_way_and_what_was_waited_for(lab: Lab, postern: Postern) -> None:
    assert postern.laptop.output("curl", "-sS", "http://nginx.home.lan/nonce") == lab.nonce
    flow = _flows(postern)[0]
    closed = [event for event in _analytics(lab) if event["event_type"] == "closed_connection"][-1]
    said = closed["connection"]
    assert 0 <= said["connect_ms"] <= said["first_byte_ms"] <= said["duration"] + 1
    assert said["rtt_ms"] > 0 and set(said["stalls"]) == set(flow["stalls"])
    if said["tunnel_path"] == "direct":
        address = ip_address(said["client_ip"])
        assert str(address) == topology.LAPTOP_NAT or address in ip_network(topology.LAPTOP_LAN6)
        assert closed["relays"] == []
    else:
        assert "client_ip" not in said
        assert len(closed["relays"]) == 1
    assert said["tunnel_proto"] == "quic/udp"
