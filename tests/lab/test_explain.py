"""`postern explain` and the daemon's socket on the laptop, with the real programs.

What explain says is compared with what a connection gets to see.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from lab import topology
from lab.postern import CLIENT_SOCKET, REMOTE_NETWORK, Postern
from lab.test_bad_input import EXIT_CODES
from lab.testbed import await_true

STRANGER = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "--"]
MEMBER = ["setpriv", "--reuid", "12346", "--regid", "12346", "--groups", "992", "--"]
"""992 is the group postern of the lab's hosts."""


def explain(postern: Postern, *words: str) -> dict[str, Any]:
    """The answer as JSON; the exit code agrees with it."""
    result = postern.client("explain", "--json", *words, check=False)
    assert result.stderr == "", result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    assert result.returncode == (0 if answer["reached"] else EXIT_CODES["NotReached"]), answer
    return answer


def connects(postern: Postern, host: str, port: int) -> bool:
    probe = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).close()"
    return postern.laptop.run("/usr/bin/python3", "-c", probe, host, str(port), check=False).returncode == 0


def as_user(postern: Postern, user: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    return postern.laptop.run(*user, "postern", "--socket", CLIENT_SOCKET, *words, check=False)


# --- explain ---------------------------------------------------------------------------------------------------------


def test_a_reached_name_comes_with_resource_rule_connector_and_path(postern: Postern) -> None:
    said = explain(postern, "nginx.home.lan:80")
    assert said["verdict"] == "reached"
    assert said["resource"]["name"] == "web"
    assert said["resource"]["tcp"] == "80,443"
    assert said["resource"]["remote_network"] == REMOTE_NETWORK
    assert [entry["chosen"] for entry in said["instances"]] == [True]
    assert said["relay"]["bound"] and said["relay"]["address"].startswith(topology.SERVER)
    assert connects(postern, "nginx.home.lan", 80)
    after = explain(postern, "nginx.home.lan", "80")
    assert after["instances"][0]["state"] == "ready"
    assert after["instances"][0]["path"] == "relay"
    assert after["instances"][0]["rtt_ms"] > 0
    assert explain(postern, after["virtual_addresses"][0] + ":80")["name"] == "nginx.home.lan"
    assert explain(postern, "web.internal:443")["resource"]["matched_by"] == "alias web.internal"


def test_a_person_reads_one_line_with_the_verdict_first(postern: Postern) -> None:
    reached = postern.client("explain", "nginx.home.lan:80").stdout.splitlines()
    assert reached[0] == 'nginx.home.lan:80 is reached: a connection would be made through resource "web"'
    refused = postern.client("explain", "nginx.home.lan:22", check=False).stdout.splitlines()
    assert refused[0] == (
        'nginx.home.lan:22 is NOT reached: resource "web" does not allow TCP port 22, only: 80,443'
    )


def test_it_says_what_a_connection_gets_to_see(postern: Postern) -> None:
    for host, port, verdict in (
        ("nginx.home.lan", 80, "reached"),
        ("nginx.home.lan", 22, "port_not_allowed"),
        ("ssh.home.lan", 22, "reached"),
        ("ssh.home.lan", 80, "port_not_allowed"),
    ):
        assert explain(postern, f"{host}:{port}")["verdict"] == verdict
        assert connects(postern, host, port) == (verdict == "reached")
    assert explain(postern, f"{topology.SERVER_NAME}:443")["verdict"] == "no_resource"
    assert explain(postern, "8.8.8.8:53")["verdict"] == "no_resource"
    assert explain(postern, "[2001:db8::1]:80")["verdict"] == "no_resource"


def test_bad_destinations_are_refused_in_one_line(postern: Postern) -> None:
    for words in (["nginx.home.lan:99999"], ["*.home.lan"], ["a", "b"], ["[::1"], [""]):
        result = postern.client("explain", *words, check=False)
        assert result.returncode == EXIT_CODES["Usage"], result
        assert len(result.stderr.strip().splitlines()) == 1


def test_addresses_are_explained_by_routes_and_losers_are_shown(postern: Postern) -> None:
    postern.add_resource("lan", topology.HOME_LAN, tcp="80")
    postern.add_resource("one", topology.NGINX, tcp="80,81")
    postern.grant("lan")
    postern.grant("one")
    await_true("the resource is there", lambda: explain(postern, f"{topology.NGINX}:80")["reached"], 10)
    said = explain(postern, f"{topology.NGINX}:80")
    assert said["resource"]["name"] == "one"
    assert [(entry["name"], entry["why_not"]) for entry in said["others"]] == [("lan", "less specific")]
    assert connects(postern, topology.NGINX, 80)


def test_what_the_laptop_needs_itself_and_its_own_network_are_left_alone_and_said(postern: Postern) -> None:
    """A resource that covers the server, the gateway and the DNS server, and one that is the laptop's own network."""
    postern.add_resource("internet", "203.0.113.0/24", tcp="443")
    postern.add_resource("same", "192.168.77.0/24", tcp="80")
    postern.add_resource("wide", "192.168.0.0/16", tcp="80")
    for name in ("internet", "same", "wide"):
        postern.grant(name)
    await_true("they are there", lambda: explain(postern, f"{topology.LAPTOP_NAT}:443")["resource"], 10)
    server = explain(postern, f"{topology.SERVER}:443")
    assert server["verdict"] == "protected"
    assert "the Postern server" in server["reason"]
    gateway = explain(postern, "192.168.77.1:80")
    assert gateway["verdict"] == "protected"
    neighbour = explain(postern, "192.168.77.50:80")
    assert neighbour["verdict"] == "local_network"
    assert "192.168.77.0/24" in neighbour["reason"]
    assert "dev eth0" in postern.laptop.output("ip", "route", "get", "192.168.77.50")
    assert "dev eth0" in postern.laptop.output("ip", "route", "get", topology.SERVER)
    assert "dev postern0" in postern.laptop.output("ip", "route", "get", topology.LAPTOP_NAT)
    notes = "\n".join(postern.status()["notes"])
    for line in (
        f'resource "internet" (203.0.113.0/24) covers {topology.SERVER}, the Postern server',
        'resource "same" (192.168.77.0/24) is also the network that this computer is in',
        'resource "wide" (192.168.0.0/16) covers 192.168.77.1, a gateway of this computer',
    ):
        assert line in notes
    assert 'Note: resource "same"' in postern.client("status").stdout
    postern.await_online()
    assert connects(postern, "nginx.home.lan", 80)
    for name in ("internet", "same", "wide"):
        postern.revoke(name)
    await_true("they are gone", lambda: not postern.status()["notes"], 10)


def test_without_access_without_connector_and_without_controller_it_says_so(postern: Postern) -> None:
    postern.revoke("database")
    await_true("it is gone", lambda: explain(postern, "db.home.lan:5432")["verdict"] == "no_resource", 10)
    postern.grant("database")
    await_true("it is back", lambda: explain(postern, "db.home.lan:5432")["reached"], 10)
    postern.kill_connector()
    await_true("no instance", lambda: explain(postern, "db.home.lan:5432")["verdict"] == "no_instance", 30)
    assert "online" in explain(postern, "db.home.lan:5432")["reason"]
    postern.serve_connector()
    await_true("it is back", lambda: explain(postern, "db.home.lan:5432")["reached"], 20)
    postern.kill_server()
    await_true("away", lambda: "the controller has been away" in str(explain(postern, "db.home.lan:5432")["notes"]), 20)
    await_true("unbound", lambda: not explain(postern, "db.home.lan:5432")["relay"]["bound"], 90)
    postern.serve()
    postern.await_online()
    await_true("all is back", lambda: explain(postern, "db.home.lan:5432")["reached"], 30)


# --- who may do what -------------------------------------------------------------------------------------------------


def test_everybody_may_look_and_only_root_and_the_group_may_change(postern: Postern) -> None:
    assert as_user(postern, STRANGER, "status", "--short").stdout == "online\n"
    assert as_user(postern, STRANGER, "resources").returncode == 0
    assert as_user(postern, STRANGER, "explain", "nginx.home.lan:80").returncode == 0
    for words in (["disconnect"], ["connect"], ["logout"], ["login", "https://203.0.113.10/"]):
        refused = as_user(postern, STRANGER, *words)
        assert refused.returncode == EXIT_CODES["NotPermitted"], refused
        assert "usermod -aG postern" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
    assert postern.status_word() == "online"
    assert as_user(postern, MEMBER, "disconnect").returncode == 0
    assert postern.status_word() == "paused"
    paused = postern.client("explain", "nginx.home.lan:80", check=False)
    assert paused.returncode == EXIT_CODES["NotReached"]
    assert "postern connect" in paused.stderr
    assert as_user(postern, MEMBER, "connect").returncode == 0
    postern.await_online()


def test_one_user_cannot_use_up_the_socket(postern: Postern) -> None:
    hold = (
        "import socket, sys\n"
        "held = [socket.socket(socket.AF_UNIX) for _ in range(200)]\n"
        "for one in held: one.connect(sys.argv[1])\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with postern.laptop.popen(
        *STRANGER, "/usr/bin/python3", "-c", hold, CLIENT_SOCKET, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        await_true("he is refused", lambda: as_user(postern, STRANGER, "status").returncode != 0, 10)
        assert "too many connections" in as_user(postern, STRANGER, "status").stderr
        assert as_user(postern, MEMBER, "status").returncode == 0
        assert postern.status_word() == "online"
        holder.kill()


@pytest.mark.parametrize("word", ["status", "explain"])
def test_help_names_the_arguments(postern: Postern, word: str) -> None:
    assert f"postern {word}" in postern.client(word, "--help").stdout
