"""kill -9 of each program: flows that can survive do, new ones work soon, and the laptop is left as it was found."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from lab import nat, probes
from lab.live import LINE_SECONDS, LiveShell
from lab.postern import Postern
from lab.testbed import Lab, await_true

NEW_FLOW_SECONDS = 5.0
PLAYBACK_SECONDS = 5.0
COULD_NOT_CONNECT = 7
"""Exit code of curl; a connect that nobody answers is another."""
SILENCE_SECONDS = 30.0
"""After which the server closes a control channel."""


@pytest.fixture
def online(postern: Postern) -> Postern:
    """Postern as a test wants to find it, also after a test that failed half-way."""
    for name, start in (
        ("postern-server", postern.serve),
        ("postern-connector", postern.serve_connector),
        ("posternd", postern.start_client),
    ):
        if not postern.lab.is_running(name):
            start()
    await_true("a flow works", lambda: _fetch(postern) == postern.lab.nonce, LINE_SECONDS)
    return postern


def _fetch(postern: Postern) -> str:
    asked = postern.laptop.run("curl", "-sS", "-m", "2", "http://nginx.home.lan/nonce", check=False)
    return asked.stdout.strip()


def _new_flow_works_in(postern: Postern, since: float) -> float:
    """Seconds from `since` until a new flow worked."""
    await_true("a new flow works", lambda: _fetch(postern) == postern.lab.nonce, NEW_FLOW_SECONDS + 10)
    return time.monotonic() - since


@pytest.fixture
def shell(online: Postern, request: pytest.FixtureRequest) -> LiveShell:
    live = LiveShell(online)
    request.addfinalizer(live.close)
    assert live.echoes("before")
    return live


def _restart(kill: Callable[[], None], start: Callable[[], None]) -> float:
    """Kills, starts again, and returns the moment at which the program had returned."""
    kill()
    start()
    return time.monotonic()


def test_flows_survive_kill_9_and_restart_of_the_server(online: Postern, shell: LiveShell) -> None:
    returned = _restart(online.kill_server, online.serve)
    assert _new_flow_works_in(online, returned) < NEW_FLOW_SECONDS
    assert shell.echoes("after") and not shell.ended()


def test_flows_survive_a_home_network_that_is_away_for_longer_than_the_server_waits(
    online: Postern, shell: LiveShell
) -> None:
    """The server takes the connector's silence for what it is; nobody says that the connector has ended."""
    with nat.no_network(online.lab.host("home-nat")):
        absent = lambda: "no connector" in online.client("explain", "nginx.home.lan", check=False).stdout  # noqa: E731
        await_true("the laptop hears that the connector is absent", absent, SILENCE_SECONDS + 20, every=0.5)
        assert not shell.ended()
        asked = online.laptop.run("curl", "-sS", "-m", "20", "http://nginx.home.lan/nonce", check=False)
        assert asked.returncode == COULD_NOT_CONNECT, "it is told, and does not wait"
    assert shell.echoes("after") and not shell.ended()
    assert _fetch(online) == online.lab.nonce


def test_what_was_configured_survives_kill_9_of_the_server(online: Postern) -> None:
    online.add_resource("made just before", "made-just-before.home.lan", tcp="80")
    online.grant("made just before")
    _restart(online.kill_server, online.serve)
    seen = lambda: "made just before" in online.client("resources", check=False).stdout  # noqa: E731
    await_true("the laptop has the resource", seen, NEW_FLOW_SECONDS)


def test_new_flows_work_soon_after_kill_9_and_restart_of_the_connector(online: Postern, shell: LiveShell) -> None:
    returned = _restart(online.kill_connector, online.serve_connector)
    assert _new_flow_works_in(online, returned) < NEW_FLOW_SECONDS
    # Its sockets died with the connector, so the application is told instead of waiting for ever.
    await_true("the old flow has ended", shell.ended, LINE_SECONDS)


def test_kill_9_of_the_daemon_leaves_routes_and_dns_as_they_were(lab: Lab, online: Postern) -> None:
    online.client("disconnect")
    online.client("connect")
    online.await_online()
    during = online.laptop_network()
    assert during != online.network_before_client
    online.kill_client()
    as_before = lambda: online.laptop_network() == online.network_before_client  # noqa: E731
    await_true("routes, interfaces and DNS are as before", as_before, PLAYBACK_SECONDS)
    assert probes.addresses(online.laptop, "nginx.home.lan") == set()
    assert probes.addresses(online.laptop, "www.example.org") != set()


def test_the_daemon_comes_back_online_by_itself_after_kill_9(online: Postern) -> None:
    returned = _restart(online.kill_client, online.start_client)
    assert _new_flow_works_in(online, returned) < NEW_FLOW_SECONDS


def test_a_clean_end_of_the_daemon_leaves_routes_and_dns_as_they_were(lab: Lab, online: Postern) -> None:
    assert lab.stop("posternd") == 0
    assert online.laptop_network() == online.network_before_client
