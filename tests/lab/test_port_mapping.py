"""Ports that routers give: between two NATs that let no check through, a mapping on either side makes a direct path."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import pytest

from lab import nat
from lab.postern import CONNECTOR_USER, Postern
from lab.test_direct import _await_path, _fetch, _session
from lab.testbed import await_true
from lab.upnp import BadRouter, Router

DIRECT_SECONDS = 25.0
RENEWAL_SECONDS = 100.0
"""NAT-PMP is asked each minute, UPnP when the relay sees another address, which takes up to 20 s."""
METRICS_PORT = 9998


def _restart(postern: Postern, *, connector_maps: bool, client_maps: bool) -> None:
    postern.kill_client()
    postern.kill_connector()
    tokens = json.loads((postern.lab.run_dir / "connector-tokens.json").read_text("utf-8"))
    env = {f"POSTERN_{key.upper()}": value for key, value in tokens.items()}
    env |= {"POSTERN_METRICS_PORT": str(METRICS_PORT)}
    if connector_maps:
        env["POSTERN_PORT_MAPPING"] = "1"
    postern.connector.spawn("postern-connector", "postern-connector", env=env, user=CONNECTOR_USER)
    words = ("posternd", "--state", "/var/lib/postern", "--socket", "/run/postern/posternd.sock")
    postern.laptop.spawn("posternd", *words, *(() if client_maps else ("--no-port-mapping",)))
    await_true("the connector is healthy", postern.connector_is_healthy, 30)
    await_true("a flow works", lambda: postern.status_word() == "online" and _fetch(postern) == postern.lab.nonce, 30)


@pytest.fixture
def hard(postern: Postern) -> Iterator[Postern]:
    """IPv4 only, and NATs that give each destination another port on both sides."""
    routers = [postern.lab.host("laptop-nat"), postern.lab.host("home-nat")]
    nat.set_ipv6(postern.lab, works=False)
    for router in routers:
        nat.set_kind(router, nat.RANDOM)
    yield postern
    for router in routers:
        nat.set_kind(router, nat.PLAIN)
    nat.set_ipv6(postern.lab, works=True)


@pytest.fixture
def home(postern: Postern) -> Iterator[Router]:
    router = Router(postern.lab, "home")
    yield router
    router.stop()


@pytest.fixture
def away(postern: Postern) -> Iterator[Router]:
    router = Router(postern.lab, "laptop")
    yield router
    router.stop()


@pytest.mark.parametrize(("nat_pmp", "method"), [(True, "NAT-PMP"), (False, "UPnP")])
def test_a_connector_that_may_asks_its_router_and_is_reached_there_until_it_ends(
    hard: Postern, home: Router, nat_pmp: bool, method: str
) -> None:
    home.start(nat_pmp=nat_pmp)
    _restart(hard, connector_maps=True, client_maps=False)
    session = _await_path(hard, "direct", DIRECT_SECONDS)
    port = int(session["remote"].rpartition(":")[2])
    assert session["remote"] == f"{home.outside}:{port}"
    assert home.mappings() == [port]
    said = f"A port of the router leads here outside={home.outside}:{port} method={method}"
    assert said in hard.lab.log("postern-connector")
    assert hard.lab.stop("postern-connector", signal.SIGTERM) == 0
    assert home.mappings() == []


def test_a_connector_that_was_not_told_to_asks_nothing(hard: Postern, home: Router) -> None:
    home.start()
    _restart(hard, connector_maps=False, client_maps=False)
    assert _fetch(hard) == hard.lab.nonce
    session = _session(hard)
    assert session["path"] == "relay"
    assert home.mappings() == []
    assert hard.status()["port_mapping"] is None


@pytest.mark.parametrize("nat_pmp", [True, False])
def test_a_client_asks_its_router_unless_it_is_told_not_to(hard: Postern, away: Router, nat_pmp: bool) -> None:
    away.start(nat_pmp=nat_pmp)
    _restart(hard, connector_maps=False, client_maps=True)
    _await_path(hard, "direct", DIRECT_SECONDS)
    mapping = hard.status()["port_mapping"]
    assert mapping["method"] == ("NAT-PMP" if nat_pmp else "UPnP")
    assert mapping["outside"] == f"{away.outside}:{away.mappings()[0]}"
    assert f"{mapping['outside']} of the router leads here" in hard.client("status").stdout
    hard.client("disconnect")
    await_true("the mapping is gone", lambda: away.mappings() == [], 5)
    hard.client("connect")
    await_true("the mapping is back", lambda: len(away.mappings()) == 1, DIRECT_SECONDS)
    assert hard.lab.stop("posternd", signal.SIGTERM) == 0
    assert away.mappings() == []


@pytest.mark.parametrize("nat_pmp", [True, False])
def test_a_router_that_has_started_again_is_asked_again(hard: Postern, home: Router, nat_pmp: bool) -> None:
    home.start(nat_pmp=nat_pmp, upnp=not nat_pmp)
    _restart(hard, connector_maps=True, client_maps=False)
    _await_path(hard, "direct", DIRECT_SECONDS)
    home.restart(nat_pmp=nat_pmp, upnp=not nat_pmp)
    assert home.mappings() == []
    began = time.monotonic()
    await_true("the port is mapped again", lambda: len(home.mappings()) == 1, RENEWAL_SECONDS, every=0.5)
    print(f"mapped again {time.monotonic() - began:.0f} s after the router was back")
    _await_path(hard, "direct", DIRECT_SECONDS)


def _counts(postern: Postern, reason: str) -> bool:
    page = postern.connector.output("curl", "-s", f"http://127.0.0.1:{METRICS_PORT}/metrics")
    return f'postern_connector_port_mapping_dropped_total{{reason="{reason}"}}' in page


def _visits(postern: Postern) -> int:
    """Requests that only the bad router can have talked somebody into."""
    log = (postern.lab.run_dir / "log" / "nginx-access.log").read_text("utf-8")
    return log.count("/control") + log.count("/secret")


@pytest.mark.parametrize(
    ("temper", "reason", "counted"),
    [
        ("garbage", "makes no sense", "bad_reply"),
        ("endless", "makes no sense", "bad_reply"),
        ("slow", "answers neither", "bad_reply"),
        ("redirect", "makes no sense", ""),
        ("elsewhere", "makes no sense", "foreign_url"),
        ("private", "is not public", ""),
    ],
)
def test_a_router_of_bad_character_gets_nothing_and_harms_nothing(
    hard: Postern, temper: str, reason: str, counted: str
) -> None:
    before = _visits(hard)
    router = BadRouter(hard.lab, temper)
    try:
        _restart(hard, connector_maps=True, client_maps=False)
        says = lambda: hard.lab.log("postern-connector").rpartition("Connector started")[2]  # noqa: E731
        await_true("the connector says why", lambda: reason in says(), 30)
        assert "asked GET /root.xml" in router.said
        assert "AddPortMapping" not in router.said
        assert _fetch(hard) == hard.lab.nonce
        assert hard.connector_is_healthy()
        assert _visits(hard) == before
        assert not counted or _counts(hard, counted)
    finally:
        router.stop()
