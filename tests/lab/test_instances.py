"""Several processes on one token pair: spread, counted, bounded, audited; and one killed leaves its work to the other."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.postern import CONNECTOR_NAME, Postern
from lab.test_restarts import LiveShell
from lab.testbed import Lab, await_true

FAILOVER_SECONDS = 3.0
SEEN_SECONDS = 20.0
FIRSTS, TRIES = 10, 3
"""Each new process is the laptop's first choice with probability one half."""
FIRST = "postern-connector"
SECOND = "second-connector"
THIRD = "third-connector"
SECOND_PORT = 9998


def _instances(postern: Postern) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = postern.admin("connector", "show", CONNECTOR_NAME)["instances"]
    return [instance for instance in shown if instance["state"] == "online"]


def _await_online(postern: Postern, count: int) -> None:
    await_true(f"{count} instances are online", lambda: len(_instances(postern)) == count, SEEN_SECONDS)


def _fetch(postern: Postern) -> str:
    asked = postern.laptop.run("curl", "-sS", "-m", "5", "http://nginx.home.lan/nonce", check=False)
    return asked.stdout.strip()



def _new_flow_works_in(postern: Postern, since: float) -> float:
    await_true("a new flow works", lambda: _fetch(postern) == postern.lab.nonce, SEEN_SECONDS)
    return time.monotonic() - since


def _who_has_ssh_open(postern: Postern) -> set[str]:
    """The processes on the connector's host that have a connection to the ssh server."""
    seen = postern.connector.output("ss", "-Htnp", "dst", "192.168.1.21:22")
    pids = {name: str(entry["pid"]) for name, entry in postern.lab.processes().items()}
    return {name for name, pid in pids.items() if f"pid={pid}," in seen}


@pytest.fixture
def both(postern: Postern, request: pytest.FixtureRequest) -> Iterator[tuple[LiveShell, str, LiveShell, str]]:
    """Two instances with a living ssh session on each: (shell, process, shell, process), the newest last."""
    lab = postern.lab
    if lab.is_running(SECOND):
        lab.stop(SECOND, signal.SIGKILL)
    # Which of two a device prefers is drawn with their numbers. Against a first one that is hard to beat another second
    # one would not help, so both are new ones now and then.
    for _ in range(FIRSTS):
        old = _first_alone(postern, request)
        for _ in range(TRIES):
            if lab.is_running(SECOND):
                lab.stop(SECOND, signal.SIGKILL)
                _await_online(postern, 1)
            postern.serve_instance(SECOND, SECOND_PORT)
            _await_online(postern, 2)
            new = LiveShell(postern)
            assert new.echoes("on one of the two")
            if _who_has_ssh_open(postern) == {FIRST, SECOND}:
                request.addfinalizer(new.close)
                yield old, FIRST, new, SECOND
                return
            new.close()
        for name in (SECOND, FIRST):
            lab.stop(name, signal.SIGKILL)
    pytest.fail(f"the laptop never chose the new one of two instances in {FIRSTS} x {TRIES} tries")


def _first_alone(postern: Postern, request: pytest.FixtureRequest) -> LiveShell:
    """A living ssh session on the first instance, the only one."""
    if not postern.lab.is_running(FIRST):
        postern.serve_connector()
    _await_online(postern, 1)
    await_true("a flow works", lambda: _fetch(postern) == postern.lab.nonce, SEEN_SECONDS)
    shell = LiveShell(postern)
    request.addfinalizer(shell.close)
    assert shell.echoes("on the first")
    return shell


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_new_flows_work_on_the_other_instance_soon_after_one_is_gone(
    postern: Postern, both: tuple[LiveShell, str, LiveShell, str], how: signal.Signals
) -> None:
    old, _, new, chosen = both
    postern.lab.send_signal(chosen, how)
    gone = time.monotonic()
    taken = _new_flow_works_in(postern, gone)
    print(f"new flow on the other instance after {taken:.2f} s ({how.name})")
    if how == signal.SIGSTOP:
        postern.lab.stop(chosen, signal.SIGKILL)
    assert taken < FAILOVER_SECONDS + (1.0 if how == signal.SIGSTOP else 0.0)
    assert old.echoes("the other one is as it was")
    await_true("flows of the dead one have ended", new.ended, SEEN_SECONDS)


def test_each_instance_is_shown_and_counted(postern: Postern, both: tuple[LiveShell, str, LiveShell, str]) -> None:
    shown = postern.admin("connector", "show", CONNECTOR_NAME)
    assert shown["running"] == 2 and shown["max_instances"] == 2
    for instance in _instances(postern):
        assert instance["host"] == "connector" and instance["relays"] == ["main"]
        assert instance["software"].startswith("postern-connector/") and instance["connected_at"]
    listed = next(c for c in postern.admin("connector", "list")["connectors"] if c["name"] == CONNECTOR_NAME)
    assert len(listed["instances"]) == 2
    text = postern.server.output("postern-server", "admin", "connector", "show", CONNECTOR_NAME)
    assert "2 of 2" in text and "online" in text
    entry = postern.admin("audit", "list")["audit"]
    enrolled = [each for each in entry if each["action"] == "instance.enrol"]
    assert len(enrolled) >= 2
    assert enrolled[0]["actor"].startswith("connector:") and enrolled[0]["origin"].startswith("203.0.113.30")
    assert enrolled[0]["after"]["hostname"] == "connector"
    assert "A new key has enrolled" in postern.lab.log("postern-server")


def test_one_more_than_may_run_is_refused_clearly_until_there_is_room(
    postern: Postern, both: tuple[LiveShell, str, LiveShell, str]
) -> None:
    postern.serve_instance(THIRD, 9997, ready=False)
    said = lambda: "no place for this instance" in postern.lab.log(THIRD)  # noqa: E731
    await_true("the third says why it waits", said, SEEN_SECONDS)
    line = next(each for each in postern.lab.log(THIRD).splitlines() if "no place" in each)
    assert "(2)" in line and "--max-instances" in line
    assert len(_instances(postern)) == 2 and postern.lab.is_running(THIRD)
    postern.admin("connector", "update", CONNECTOR_NAME, "--max-instances", "3")
    _await_online(postern, 3)
    assert postern.lab.log(THIRD).count("no place for this instance") <= 4, "it asks slowly"
    postern.admin("connector", "update", CONNECTOR_NAME, "--max-instances", "2")
    _await_online(postern, 2)
    postern.lab.stop(THIRD)
    asked = ("postern-server", "admin", "connector", "update", CONNECTOR_NAME, "--max-instances", "0")
    refused = postern.server.run(*asked, check=False)
    assert refused.returncode == 2 and "max-instances" in refused.stderr
