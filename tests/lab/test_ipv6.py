"""IPv6: targets that have nothing else, IPv6 addresses for every named resource, and hosts that reach the server by
IPv6 only, each side for itself and both together.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab import nat, probes, topology
from lab.postern import Postern
from lab.testbed import Host, Lab, await_true

CIDR6 = "2001:db8:1::/64"
CHANGE_SECONDS = 5.0
RECONNECT_SECONDS = 20.0
"""A bound for the agents to notice that their path is gone and to find the other; it is awaited, not slept."""


@pytest.fixture(scope="module")
def postern(lab: Lab) -> Postern:
    """As everywhere, but the server is known by its name, which has an address of each kind."""
    running = Postern(lab)
    running.server_place = ("--domain", topology.SERVER_NAME)
    running.start_all()
    for name, address in (("six", topology.IPV6_NAME), ("both", topology.BOTH_NAME)):
        running.add_resource(name, address, tcp="80")
        running.grant(name)
    running.add_resource("lan6", CIDR6, tcp="8080")
    running.grant("lan6")
    probe = lambda: probes.connect(running.laptop, topology.NGINX6, 8080) == "open"  # noqa: E731
    await_true("the laptop can use the new resources", probe, CHANGE_SECONDS)
    return running


@contextmanager
def dropping(host: Host, hook: str, what: str) -> Iterator[None]:
    """Packets that match `what` vanish on this host, before its other rules."""
    chain = f"type filter hook {hook} priority filter - 1;\n{what} drop\n"
    host.run("nft", "-f", "-", text=f"table inet cut {{\nchain cut {{\n{chain}}}\n}}\n")
    try:
        yield
    finally:
        host.run("nft", "delete", "table", "inet", "cut")


@contextmanager
def without_ipv4_to_the_server(lab: Lab, router: str) -> Iterator[None]:
    """IPv4 to the server vanishes at this router; what runs inside has the server by IPv6 only."""
    with dropping(lab.host(router), "forward", f"ip daddr {topology.SERVER}"):
        yield


def _fetch(postern: Postern, url: str, *options: str) -> str:
    return postern.laptop.output("curl", "-sS", "--max-time", "10", *options, f"http://{url}/nonce")


def _relay(postern: Postern) -> str:
    """The relay's address that the client uses."""
    return str(postern.status()["relay"]["address"])


def test_a_target_with_ipv6_only_is_reached_by_name(lab: Lab, postern: Postern) -> None:
    assert probes.addresses(lab.host("connector"), topology.IPV6_NAME) == set()
    for family in ("-4", "-6"):
        assert _fetch(postern, topology.IPV6_NAME, family) == lab.nonce


def test_a_target_with_ipv6_only_is_reached_by_address_inside_a_prefix(lab: Lab, postern: Postern) -> None:
    assert _fetch(postern, f"[{topology.NGINX6}]:8080") == lab.nonce
    assert probes.connect(postern.laptop, topology.NGINX6, 80) in ("refused", "prohibited", "unreachable")


@pytest.mark.parametrize("name", ["nginx.home.lan", "web.internal", "ssh.home.lan", "db.home.lan", topology.IPV6_NAME])
def test_every_named_resource_has_an_ipv6_address_whatever_its_target_has(postern: Postern, name: str) -> None:
    found = probes.addresses(postern.laptop, name, version=6)
    assert len(found) == 1 and ipaddress.ip_address(found.pop()).is_private


def test_a_target_with_ipv4_only_is_reached_over_its_ipv6_address(lab: Lab, postern: Postern) -> None:
    assert _fetch(postern, "nginx.home.lan", "-6") == lab.nonce


def test_a_target_with_both_is_reached_while_one_of_them_is_dead(lab: Lab, postern: Postern) -> None:
    for dead in ("ipv4", "ipv6"):
        with dropping(lab.host("nginx"), "input", f"meta nfproto {dead} tcp dport 80"):
            assert _fetch(postern, topology.BOTH_NAME) == lab.nonce


def test_the_laptop_works_where_only_ipv6_leads_to_the_server(lab: Lab, postern: Postern) -> None:
    with without_ipv4_to_the_server(lab, "laptop-nat"):
        postern.client("disconnect")
        postern.client("connect")
        postern.await_online()
        assert _fetch(postern, "nginx.home.lan") == lab.nonce
        assert topology.SERVER6 in _relay(postern)


def test_the_laptop_finds_the_ipv6_path_by_itself_when_ipv4_dies(lab: Lab, postern: Postern) -> None:
    with nat.relayed(lab):
        postern.client("disconnect")
        postern.client("connect")
        postern.await_online()
        assert _fetch(postern, "nginx.home.lan") == lab.nonce
        assert topology.SERVER in _relay(postern)
        with without_ipv4_to_the_server(lab, "laptop-nat"):
            works = lambda: postern.laptop.run(  # noqa: E731
                "curl", "-sS", "--max-time", "2", "http://nginx.home.lan/nonce", check=False
            ).stdout == lab.nonce
            await_true("new flows work by IPv6", works, RECONNECT_SECONDS)
            # TLS over IPv6 may have come first.
            await_true("the relay is reached by UDP over IPv6", lambda: topology.SERVER6 in _relay(postern), RECONNECT_SECONDS)


def test_the_connector_works_where_only_ipv6_leads_to_the_server(lab: Lab, postern: Postern) -> None:
    with without_ipv4_to_the_server(lab, "home-nat"):
        postern.kill_connector()
        postern.serve_connector()
        works = lambda: postern.laptop.run(  # noqa: E731
            "curl", "-sS", "--max-time", "2", "http://nginx.home.lan/nonce", check=False
        ).stdout == lab.nonce
        await_true("flows go over the connector's IPv6", works, RECONNECT_SECONDS)
