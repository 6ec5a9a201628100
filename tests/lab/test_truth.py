"""What a program sees through Postern is what it sees on the LAN: the same probe on both, the same answers.

docs/reference/truth.md is the table of these cases; a case that is not in it fails here.
"""

from __future__ import annotations

import json
import os
import re
import time

import pytest

from lab import topology
from lab.paths import REPO
from lab.postern import Postern
from lab.testbed import Host, Lab, await_true
from lab.truth_server import PORTS

DEAD = "192.168.1.99"
CHANGE_SECONDS = 5.0
CYCLES = int(os.environ.get("POSTERN_TRUTH_CYCLES", "3000"))
"""100 000 by hand take minutes."""
PENDING_SECONDS = 30.0
"""What tests before have left: connects to silent ports that nobody waits for any more end after 12 s."""
MEMORY_SLACK_KB = 4096
"""Heaps and pools settle; a leak of 2 KB for each cycle would be 6 MB."""

_RULES = """
table inet truth {
chain input {
type filter hook input priority 0
tcp dport %(filtered)d drop
tcp dport %(reject_reset)d reject with tcp reset
tcp dport %(reject_port)d reject with icmp type port-unreachable
tcp dport %(reject_admin)d reject with icmp type admin-prohibited
tcp dport %(reject_net)d reject with icmp type net-unreachable
}
}
"""

_CYCLE = """
import socket, sys
for _ in range(int(sys.argv[2])):
    connection = socket.create_connection((sys.argv[1], int(sys.argv[3])), timeout=20)
    assert connection.recv(5) == b"hello"
    connection.close()
print("done")
"""


@pytest.fixture(scope="module", autouse=True)
def odd_server(lab: Lab, postern: Postern) -> None:
    nginx = lab.host("nginx")
    nginx.run("nft", "-f", "-", text=_RULES % PORTS)
    nginx.spawn("truth-server", "/usr/bin/python3", "-B", str(REPO / "tests/lab/truth_server.py"))
    postern.add_resource("target", topology.TARGET_NAME)
    postern.add_resource("dead", DEAD)
    postern.add_resource("nobody", "nobody.home.lan")
    for resource in ("target", "dead", "nobody"):
        postern.grant(resource)
    known = lambda: len(postern.status()["resources"]) == 6  # noqa: E731
    await_true("the laptop knows the resources", known, CHANGE_SECONDS)
    await_true("the odd server listens", lambda: "ready" in lab.log("truth-server"), CHANGE_SECONDS)


def _probe(host: Host) -> dict[str, str]:
    program = str(REPO / "tests/lab/truth_probe.py")
    seen: dict[str, str] = json.loads(
        host.output("/usr/bin/python3", "-B", program, topology.TARGET_NAME, DEAD, seconds=90)
    )
    return seen


def test_a_program_sees_through_postern_what_it_sees_on_the_lan(lab: Lab, postern: Postern) -> None:
    on_the_lan = _probe(lab.host("db"))
    through = _probe(postern.laptop)
    known_to_differ = {"connect: unknown name": ("unknown name", "EHOSTUNREACH")}
    for case, pair in known_to_differ.items():
        assert (on_the_lan.pop(case), through.pop(case)) == pair
    assert through == on_the_lan
    assert on_the_lan["connect: closed"] == "ECONNREFUSED" and on_the_lan["connect: filtered"] == "silent"
    table = (REPO / "docs/reference/truth.md").read_text("utf-8")
    missing = [case for case in (*on_the_lan, *known_to_differ) if f"| {case} |" not in table]
    assert not missing, "cases that the table in the documentation does not have"
    for case, outcome in on_the_lan.items():
        row = next(line for line in table.splitlines() if line.startswith(f"| {case} |"))
        assert f"`{outcome}`" in row, (row, outcome)


def test_a_port_scan_agrees_with_the_lan(lab: Lab, postern: Postern) -> None:
    ports = "80,443," + ",".join(str(port) for port in PORTS.values() if port not in (9008,))

    def scan(host: Host) -> list[str]:
        command = ["nmap", "-sT", "-Pn", "-n", "--max-retries", "2", "-p", ports, "-oG", "-", topology.TARGET_NAME]
        found = re.search(r"Ports: (.*)", host.output(*command, seconds=120))
        assert found
        return [entry.strip().split("/")[0] + " " + entry.split("/")[1] for entry in found[1].split(",")]

    on_the_lan = scan(lab.host("db"))
    assert scan(postern.laptop) == on_the_lan
    assert {entry.split()[1] for entry in on_the_lan} == {"open", "closed", "filtered"}


def _usage(lab: Lab, name: str) -> tuple[int, int]:
    """Open descriptors, and memory of its own in KB."""
    process = lab.processes()[name]
    host = lab.host(process["host"])
    count = host.output("sh", "-c", f"ls /proc/{process['pid']}/fd | wc -l")
    status = host.output("cat", f"/proc/{process['pid']}/status")
    memory = re.search(r"RssAnon:\s+(\d+)", status)
    assert memory
    return int(count), int(memory[1])


def test_connections_that_come_and_go_leave_nothing_behind(lab: Lab, postern: Postern) -> None:
    def cycle(count: int) -> None:
        arguments = [topology.TARGET_NAME, str(count), str(PORTS["open"])]
        seconds = 60 + count / 50
        assert postern.laptop.output("/usr/bin/python3", "-c", _CYCLE, *arguments, seconds=seconds) == "done"
        await_true("no flow is left", lambda: postern.status()["flows"] == 0, CHANGE_SECONDS)

    await_true("no connect is under way", lambda: postern.status()["flows"] == 0, PENDING_SECONDS)
    cycle(500)
    programs = ("posternd", "postern-connector")
    before = {name: _usage(lab, name) for name in programs}
    started = time.monotonic()
    cycle(CYCLES)
    print(f"{CYCLES} connections in {time.monotonic() - started:.1f} s")
    for name in programs:
        settled = lambda n=name: _usage(lab, n)[0] <= before[n][0]  # noqa: E731
        await_true(f"{name} has closed its descriptors", settled, CHANGE_SECONDS)
        assert _usage(lab, name)[1] <= before[name][1] + MEMORY_SLACK_KB, (name, before[name], _usage(lab, name))
