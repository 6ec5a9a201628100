"""Drain and rolling update: new connections go on without a single refusal, and what runs is not disturbed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.postern import CONNECTOR_NAME, Postern
from lab.test_instances import FIRST, SECOND, SECOND_PORT, SEEN_SECONDS, _await_online, _fetch, _instances
from lab.test_restarts import LiveShell
from lab.testbed import await_true

FLOW_SECONDS = 10.0
"""Longer than any flow may be held: a refusal is what counts here, and a late answer is none."""


class NewFlows:
    """One new connection after another from the laptop until the end; each must bring the right answer."""

    def __init__(self, postern: Postern) -> None:
        self._postern = postern
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.made = 0
        self.failed: list[str] = []
        self.longest = 0.0

    def __enter__(self) -> NewFlows:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def await_more(self, count: int = 10) -> None:
        wanted = self.made + count
        await_true(f"{count} more connections were made", lambda: self.made >= wanted, SEEN_SECONDS)

    def _run(self) -> None:
        command = ("curl", "-sS", "-m", str(FLOW_SECONDS), "http://nginx.home.lan/nonce")
        while not self._ended.is_set():
            started = time.monotonic()
            asked = self._postern.laptop.run(*command, check=False)
            self.longest = max(self.longest, time.monotonic() - started)
            if asked.stdout.strip() != self._postern.lab.nonce:
                self.failed.append(f"{asked.returncode} {asked.stderr.strip()}")
            self.made += 1


def _id_of(postern: Postern, name: str) -> str:
    """The instance that this process is: the one that is online while the other is not named."""
    pid = postern.lab.processes()[name]["pid"]
    seen = postern.connector.output("ss", "-Htnp", "dport", "=", ":443")
    port = next(line.split()[3].rsplit(":", 1)[1] for line in seen.splitlines() if f"pid={pid}," in line)
    return next(str(each["id"]) for each in _instances(postern) if each["address"].rsplit(":", 1)[1] == port)


def _who_served(postern: Postern) -> set[str]:
    seen = postern.connector.output("ss", "-Htnp", "dst", "192.168.1.21:22")
    pids = {name: str(entry["pid"]) for name, entry in postern.lab.processes().items()}
    return {name for name, pid in pids.items() if f"pid={pid}," in seen}


@pytest.fixture
def two(postern: Postern) -> Iterator[Postern]:
    if not postern.lab.is_running(FIRST):
        postern.serve_connector()
    if not postern.lab.is_running(SECOND):
        postern.serve_instance(SECOND, SECOND_PORT)
    _await_online(postern, 2)
    await_true("a flow works", lambda: _fetch(postern) == postern.lab.nonce, SEEN_SECONDS)
    yield postern
    postern.admin("connector", "resume", CONNECTOR_NAME)


def _restart(postern: Postern, name: str) -> None:
    postern.lab.stop(name, signal.SIGTERM)
    if name == FIRST:
        postern.serve_connector()
    else:
        postern.serve_instance(SECOND, SECOND_PORT)


def test_a_rolling_update_of_two_processes_refuses_no_connection(two: Postern) -> None:
    with NewFlows(two) as flows:
        flows.await_more()
        for name in (FIRST, SECOND):
            _restart(two, name)
            _await_online(two, 2)
            flows.await_more()
    assert not flows.failed, flows.failed
    print(f"{flows.made} connections, the slowest took {flows.longest:.2f} s")


def test_a_restart_of_the_only_process_refuses_no_connection(two: Postern) -> None:
    two.lab.stop(SECOND, signal.SIGTERM)
    _await_online(two, 1)
    with NewFlows(two) as flows:
        flows.await_more()
        _restart(two, FIRST)
        flows.await_more()
    assert not flows.failed, flows.failed
    print(f"{flows.made} connections, the slowest took {flows.longest:.2f} s")


def test_a_drained_process_keeps_its_connections_and_gets_no_new_ones_until_it_is_resumed(
    two: Postern, request: pytest.FixtureRequest
) -> None:
    live = LiveShell(two)
    request.addfinalizer(live.close)
    assert live.echoes("before")
    (used,) = _who_served(two)
    two.admin("connector", "drain", CONNECTOR_NAME, "--instance", _id_of(two, used))
    shown = {each["id"]: each for each in two.admin("connector", "show", CONNECTOR_NAME)["instances"]}
    drained: dict[str, Any] = shown[_id_of_drained(shown)]
    assert drained["draining"] and drained["state"] == "draining"
    known = lambda: "draining" in {each["state"] for each in two.status()["sessions"]}  # noqa: E731
    await_true("the laptop knows", known, SEEN_SECONDS)
    other = LiveShell(two)
    request.addfinalizer(other.close)
    assert other.echoes("on the other one")
    assert _who_served(two) == {FIRST, SECOND}
    assert live.echoes("still there")
    entries = [each["action"] for each in two.admin("audit", "list")["audit"]]
    assert "instance.drain" in entries
    two.admin("connector", "resume", CONNECTOR_NAME)
    states = {each["state"] for each in two.admin("connector", "show", CONNECTOR_NAME)["instances"]}
    assert "draining" not in states


def _id_of_drained(shown: dict[str, dict[str, Any]]) -> str:
    (drained,) = [name for name, each in shown.items() if each["state"] == "draining"]
    return drained


def test_the_only_process_still_takes_connections_while_it_is_drained(two: Postern) -> None:
    two.lab.stop(SECOND, signal.SIGTERM)
    _await_online(two, 1)
    two.admin("connector", "drain", CONNECTOR_NAME)
    assert _fetch(two) == two.lab.nonce
    known = lambda: "drain" in two.laptop.output("postern", "explain", "nginx.home.lan:80")  # noqa: E731
    await_true("the laptop knows", known, SEEN_SECONDS)
    assert _fetch(two) == two.lab.nonce


def test_an_instance_that_does_not_exist_cannot_be_drained(two: Postern) -> None:
    asked = ("postern-server", "admin", "connector", "drain", CONNECTOR_NAME, "--instance", "4711")
    refused = two.server.run(*asked, check=False)
    assert refused.returncode != 0 and "no instance 4711" in refused.stderr
