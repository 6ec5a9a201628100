"""Direct paths through NATs of every kind: which sessions get one, that status says so, and why others do not.

Client and connector start afresh for each kind of NAT, because a router keeps the ports that it has given.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from typing import Any

import pytest

from lab import nat
from lab.live import LiveShell
from lab.postern import Postern
from lab.testbed import Lab, await_true
from lab.topology import CONNECTOR, HOME_NAT, SERVER

DIRECT_SECONDS = 10.0
ROUND_SECONDS = 12.0
BACK_SECONDS = 3.0
"""A transfer over a direct path that was cut must go on within this time."""
AGAIN_SECONDS = 30.0
LONE_SECONDS = 90.0
"""A relay that vanished without a word is noticed after 30 s; then the direct path is looked for every 15 s."""


def _fetch(postern: Postern) -> str:
    asked = postern.laptop.run("curl", "-sS", "-m", "5", "http://nginx.home.lan/nonce", check=False)
    return asked.stdout.strip()


def _session(postern: Postern) -> dict[str, Any]:
    sessions: list[dict[str, Any]] = postern.status()["sessions"]
    return sessions[0] if sessions else {}


def _goes(postern: Postern, path: str) -> bool:
    """Whether the session goes this way; a flow makes it look for a better one."""
    assert _fetch(postern) == postern.lab.nonce
    return _session(postern).get("path") == path


def _await_path(postern: Postern, path: str, seconds: float = DIRECT_SECONDS) -> dict[str, Any]:
    await_true(f"the session goes {path}", lambda: _goes(postern, path), seconds, every=0.1)
    return _session(postern)


def _await_relayed(postern: Postern, because: str) -> dict[str, Any]:
    """A session that has looked for a direct path and found none."""

    def has_given_up() -> bool:
        assert _fetch(postern) == postern.lab.nonce
        return because in _session(postern).get("path_reason", "")

    await_true(f"the session is relayed because {because}", has_given_up, ROUND_SECONDS, every=0.1)
    session = _session(postern)
    assert session["path"] == "relay"
    return session


def _restart(postern: Postern) -> None:
    for name, kill in (("posternd", postern.kill_client), ("postern-connector", postern.kill_connector)):
        if postern.lab.is_running(name):
            kill()
    postern.serve_connector()
    postern.start_client()
    postern.await_online()
    await_true("a flow works", lambda: _fetch(postern) == postern.lab.nonce, DIRECT_SECONDS)


def _with_nats(postern: Postern, laptop: str, home: str) -> None:
    nat.set_kind(postern.lab.host("laptop-nat"), laptop)
    nat.set_kind(postern.lab.host("home-nat"), home)
    _restart(postern)


@pytest.mark.parametrize(
    ("laptop", "home"),
    [
        pytest.param(nat.PLAIN, nat.PLAIN, id="both plain"),
        pytest.param(nat.PLAIN, nat.FULL_CONE, id="full cone at home"),
        pytest.param(nat.PER_ADDRESS, nat.FULL_CONE, id="a port for each address, full cone at home"),
        pytest.param(nat.RANDOM, nat.FULL_CONE, id="a port for each destination, full cone at home"),
    ],
)
def test_these_nats_let_a_direct_path_through(clean: Postern, laptop: str, home: str) -> None:
    _with_nats(clean, laptop, home)
    session = _await_path(clean, "direct")
    assert session["remote"].startswith(f"{HOME_NAT}:"), session
    assert session["path_reason"] == ""
    assert session["rtt_ms"] is not None


@pytest.mark.parametrize(
    ("laptop", "home"),
    [
        pytest.param(nat.PER_ADDRESS, nat.PLAIN, id="a port for each address at the laptop"),
        pytest.param(nat.RANDOM, nat.PLAIN, id="a port for each destination at the laptop"),
        pytest.param(nat.PLAIN, nat.RANDOM, id="a port for each destination at home"),
        pytest.param(nat.RANDOM, nat.RANDOM, id="a port for each destination on both sides"),
    ],
)
def test_these_nats_leave_the_relay_and_status_says_why(clean: Postern, laptop: str, home: str) -> None:
    _with_nats(clean, laptop, home)
    session = _await_relayed(clean, "no check was answered")
    assert session["remote"] == f"{SERVER}:443"
    assert "no check was answered" in clean.client("status").stdout


@pytest.mark.parametrize("router", ["laptop-nat", "home-nat"])
def test_udp_that_only_reaches_the_server_leaves_the_relay(clean: Postern, router: str) -> None:
    nat.block_udp(clean.lab.host(router), but=SERVER)
    _restart(clean)
    _await_relayed(clean, "no check was answered")


def test_ipv6_is_direct_where_ipv4_cannot_be(clean: Postern) -> None:
    nat.set_ipv6(clean.lab, works=True)
    _with_nats(clean, nat.RANDOM, nat.RANDOM)
    session = _await_path(clean, "direct")
    assert session["remote"].startswith("[2001:db8:1::10]:"), session


_SERVE_BYTES = """
import random, socket, sys, threading
pause = threading.Event()
block = random.Random(7).randbytes(1 << 16)
listener = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
def serve(connection):
    for _ in range(int(connection.recv(16))):
        connection.sendall(block)
        pause.wait(0.004)
    connection.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
_TAKE_BYTES = """
import hashlib, socket, sys, time
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
connection.sendall(sys.argv[3].encode())
digest, size, longest, last, said = hashlib.sha256(), 0, 0.0, time.monotonic(), 0
while piece := connection.recv(1 << 16):
    now = time.monotonic()
    longest, last = max(longest, now - last), now
    digest.update(piece)
    size += len(piece)
    if size // (1 << 22) > said:
        said = size // (1 << 22)
        print("at", size, flush=True)
print("end", size, digest.hexdigest(), f"{longest:.3f}", flush=True)
"""
_BLOCKS = 3000


class Transfer:
    """A paced download through the tunnel; it knows the longest time without a byte."""

    def __init__(self, postern: Postern, port: int) -> None:
        command = ("/usr/bin/python3", "-c", _TAKE_BYTES, "target.home.lan", str(port), str(_BLOCKS))
        self.process = postern.laptop.popen(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def runs(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("at "), line

    def end(self) -> tuple[int, str, float]:
        output, _ = self.process.communicate(timeout=90)
        words = output.strip().splitlines()[-1].split()
        assert words[0] == "end", output
        return int(words[1]), words[2], float(words[3])


def _expected() -> tuple[int, str]:
    import random

    block = random.Random(7).randbytes(1 << 16)
    digest = hashlib.sha256()
    for _ in range(_BLOCKS):
        digest.update(block)
    return _BLOCKS << 16, digest.hexdigest()


@pytest.fixture(scope="module")
def bytes_port(postern: Postern, lab: Lab) -> int:
    port = 7007
    postern.add_resource("bytes", "target.home.lan", tcp=str(port))
    postern.grant("bytes")
    lab.host("nginx").spawn("bytes", "/usr/bin/python3", "-c", _SERVE_BYTES, str(port))
    await_true("the byte server listens", lambda: "ready" in lab.log("bytes"), DIRECT_SECONDS)
    return port


def test_a_transfer_outlives_the_end_of_its_direct_path_byte_for_byte(clean: Postern, bytes_port: int) -> None:
    _with_nats(clean, nat.PLAIN, nat.PLAIN)
    _await_path(clean, "direct")
    transfer = Transfer(clean, bytes_port)
    transfer.runs()
    assert _session(clean)["path"] == "direct"
    nat.block_udp(clean.lab.host("laptop-nat"), but=SERVER)
    cut = time.monotonic()
    await_true("the session is relayed", lambda: _session(clean)["path"] == "relay", BACK_SECONDS)
    print(f"relayed {time.monotonic() - cut:.2f} s after the cut")
    transfer.runs()
    assert _session(clean)["path_reason"] != ""
    nat.unblock_udp(clean.lab.host("laptop-nat"))
    back = time.monotonic()
    await_true("the session is direct again", lambda: _session(clean)["path"] == "direct", AGAIN_SECONDS, every=0.1)
    print(f"direct again {time.monotonic() - back:.2f} s after the way was free")
    size, digest, longest = transfer.end()
    print(f"longest time without a byte: {longest:.2f} s")
    assert (size, digest) == _expected()
    assert longest < BACK_SECONDS


def test_a_direct_path_that_was_cut_while_the_server_is_away_is_found_again(clean: Postern) -> None:
    _with_nats(clean, nat.PLAIN, nat.PLAIN)
    _await_path(clean, "direct")
    shell = LiveShell(clean)
    try:
        assert shell.echoes("before")
        clean.kill_server()
        nat.block_udp(clean.lab.host("laptop-nat"))
        # What is written meanwhile makes the client leave for the relay, which it believes to be there for some time.
        shell.write("while it is cut")
        await_true("the session is relayed", lambda: _session(clean)["path"] == "relay", AGAIN_SECONDS, every=0.1)
        nat.unblock_udp(clean.lab.host("laptop-nat"))
        free = time.monotonic()
        assert shell.reads(LONE_SECONDS) == "while it is cut"
        print(f"answered {time.monotonic() - free:.1f} s after the way was free")
        assert _session(clean)["path"] == "direct"
    finally:
        shell.close()
        clean.serve()
    clean.await_online()


def test_a_connector_whose_address_changes_is_followed_while_a_transfer_runs(clean: Postern, bytes_port: int) -> None:
    _with_nats(clean, nat.PLAIN, nat.PLAIN)
    _await_path(clean, "direct")
    transfer = Transfer(clean, bytes_port)
    transfer.runs()
    connector = clean.lab.host("connector")
    # Towards the internet only: its connections in the home network live on.
    other = "192.168.1.110"
    connector.run("ip", "address", "add", f"{other}/24", "dev", "eth0")
    connector.run("ip", "route", "replace", "default", "via", "192.168.1.1", "src", other)
    try:
        size, digest, longest = transfer.end()
        print(f"longest time without a byte: {longest:.2f} s")
        assert (size, digest) == _expected()
        assert longest < BACK_SECONDS
        _await_path(clean, "direct", AGAIN_SECONDS)
    finally:
        connector.run("ip", "route", "replace", "default", "via", "192.168.1.1", "src", CONNECTOR)
        connector.run("ip", "address", "del", f"{other}/24", "dev", "eth0")


def test_a_laptop_that_comes_home_reaches_the_connector_through_the_lan(clean: Postern) -> None:
    _with_nats(clean, nat.PLAIN, nat.PLAIN)
    _await_path(clean, "direct")
    nat.join_home(clean.lab, clean.lab.pids())
    await_true(
        "the session goes through the LAN",
        lambda: _goes(clean, "direct") and _session(clean)["remote"].startswith(f"{CONNECTOR}:"),
        AGAIN_SECONDS,
        every=0.1,
    )
