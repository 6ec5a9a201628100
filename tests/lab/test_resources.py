"""Every kind of resource, by what an application on the laptop gets to see: names, patterns, single labels, aliases,
addresses and prefixes, lists of ports; which of several wins, and what bypasses Postern.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import name_services, probes, topology
from lab.postern import REMOTE_NETWORK, Postern
from lab.test_bad_input import EXIT_CODES
from lab.test_explain import explain
from lab.testbed import CommandFailed, Lab, await_true

SOON_SECONDS = 10.0
POOL = topology.POOL_NAME
"""Every name below it is nginx, for the resolver of the home network."""
OFFICE = "office"
"""A second remote network; nothing runs in it."""


@pytest.fixture(scope="module")
def postern(lab: Lab) -> Postern:
    """Resources of each kind, more than the one that is asked for in each case."""
    running = Postern(lab)
    running.start_all()
    running.admin("remote-network", "add", OFFICE)
    for name, address, aliases, ports in (
        ("anything in the pool", f"*.{POOL}", (), "80"),
        ("two letters", f"x?.{POOL}", (), "8080"),
        ("one of them", f"ab.{POOL}", (), "8443"),
        ("short", "shorthost", (), "80"),
        ("many names", "target.home.lan", ("one.internal", "two.internal", "three"), "80,8080-8090, 8443"),
        ("lan", topology.HOME_LAN, (), "80"),
        ("half", "192.168.1.16/28", (), "8080"),
        ("one", topology.NGINX, (), "8443"),
        ("public", "*.example.org", (), "80"),
    ):
        running.add_resource(name, address, aliases, ports)
        running.grant(name)
    await_true("the last one is there", lambda: _is_virtual(running, "any.example.org"), SOON_SECONDS)
    return running


def _is_virtual(postern: Postern, name: str) -> bool:
    return name_services.sees_resource(postern, name)


def _open(postern: Postern, host: str, *ports: int) -> list[int]:
    """Which of the ports of nginx can be connected to."""
    tried: Callable[[int], str] = lambda port: probes.connect(postern.laptop, host, port, 5)  # noqa: E731
    return [port for port in ports or (80, 443, 8080, 8443) if tried(port) == "open"]


def _fetch(postern: Postern, host: str, port: int = 80) -> str:
    return postern.laptop.output("curl", "-sS", "-m", "10", f"http://{host}:{port}/nonce")


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_name_that_only_a_pattern_covers_is_found_and_reached_by_that_name(postern: Postern) -> None:
    for name in (f"web-17.{POOL}", f"a.b.c.{POOL}"):
        assert _is_virtual(postern, name), name
        assert _fetch(postern, name) == postern.lab.nonce
        assert probes.addresses(postern.laptop, name, 6) != set()
    flows = lambda: [(flow["resource"], flow["target"]) for flow in postern.admin("flow", "list")["flows"]]  # noqa: E731
    wanted = ("anything in the pool", f"{topology.NGINX}:80")
    await_true("the connector has looked the name up itself", lambda: wanted in flows(), SOON_SECONDS)


def test_a_star_stands_for_any_number_of_characters_and_a_question_mark_for_one(postern: Postern) -> None:
    assert _open(postern, f"web-17.{POOL}") == [80]
    assert _open(postern, f"xy.{POOL}") == [8080]
    assert _open(postern, f"ab.{POOL}") == [8443]
    assert explain(postern, f"xyz.{POOL}:80")["resource"]["name"] == "anything in the pool"
    assert not _is_virtual(postern, POOL)  # `*.NAME` is not NAME
    assert explain(postern, f"{POOL}:80")["verdict"] == "no_resource"


def test_a_name_that_a_pattern_covers_but_nobody_has_fails_as_on_the_lan(postern: Postern) -> None:
    assert probes.connect(postern.laptop, "nobody.example.org", 80, 10) == "unreachable"


def test_the_reverse_look_up_of_a_virtual_address_gives_the_name(postern: Postern) -> None:
    name = f"reverse.{POOL}"
    for version in (4, 6):
        for address in probes.addresses(postern.laptop, name, version):
            assert postern.laptop.output("getent", "hosts", address).split() == [address, name]


def test_a_single_label_is_a_name_like_any_other(postern: Postern) -> None:
    postern.connector.run("sh", "-c", f"echo '{topology.NGINX} shorthost' >> /etc/hosts")
    assert _is_virtual(postern, "shorthost")
    assert _open(postern, "shorthost") == [80]
    assert _fetch(postern, "shorthost") == postern.lab.nonce


def test_all_aliases_lead_to_the_same_place_with_the_same_ports(postern: Postern) -> None:
    for name in ("target.home.lan", "one.internal", "two.internal", "three"):
        assert _open(postern, name, 80, 8080, 8443, 443) == [80, 8080, 8443], name
        assert _fetch(postern, name, 8080) == postern.lab.nonce


# --- addresses -------------------------------------------------------------------------------------------------------


def test_the_narrowest_range_decides_alone(postern: Postern) -> None:
    assert _open(postern, topology.NGINX) == [8443]
    assert probes.connect(postern.laptop, topology.SSH, 80, 5) == "prohibited" or not _open(postern, topology.SSH, 80)
    assert explain(postern, f"{topology.SSH}:8080")["resource"]["name"] == "half"
    assert explain(postern, "192.168.1.1:80")["resource"]["name"] == "lan"
    others = [other["name"] for other in explain(postern, f"{topology.NGINX}:8443")["others"]]
    assert others == ["half", "lan"]


def test_a_port_outside_every_list_is_refused_although_something_listens(postern: Postern) -> None:
    for host, port in ((topology.NGINX, 80), (f"ab.{POOL}", 80), ("one.internal", 443)):
        answer = postern.client("explain", "--json", f"{host}:{port}", check=False)
        assert answer.returncode == EXIT_CODES["NotReached"]
        assert probes.connect(postern.laptop, host, port, 5) in ("prohibited", "unreachable"), (host, port)


# --- bypass ----------------------------------------------------------------------------------------------------------


def _add_bypass(postern: Postern, name: str, address: str) -> None:
    postern.admin("resource", "add", name, "--remote-network", REMOTE_NETWORK, "--address", address, "--bypass")


def test_a_name_that_bypasses_postern_is_looked_up_as_if_postern_were_not_there(postern: Postern) -> None:
    name = "www.example.org"
    assert _is_virtual(postern, name)
    _add_bypass(postern, "not this one", name)
    try:
        direct = lambda: probes.addresses(postern.laptop, name) == {topology.INTERNET}  # noqa: E731
        await_true("it is found without Postern", direct, SOON_SECONDS)
        assert _is_virtual(postern, "else.example.org")
        said = explain(postern, f"{name}:80")
        assert (said["verdict"], said["resource"]["name"]) == ("no_resource", "not this one")
        assert "bypasses Postern" in said["reason"]
    finally:
        postern.admin("resource", "delete", "not this one")
    await_true("it is a resource again", lambda: _is_virtual(postern, name), SOON_SECONDS)


def test_an_address_that_bypasses_postern_is_not_routed(postern: Postern) -> None:
    route = lambda address: postern.laptop.output("ip", "route", "get", address)  # noqa: E731
    assert "dev postern0" in route(topology.SSH)
    _add_bypass(postern, "outside", topology.SSH)
    try:
        await_true("it leaves by the card", lambda: "dev eth0" in route(topology.SSH), SOON_SECONDS)
        for neighbour in ("192.168.1.20", "192.168.1.22", "192.168.1.1"):
            assert "dev postern0" in route(neighbour)
        assert explain(postern, f"{topology.SSH}:22")["resource"]["name"] == "outside"
    finally:
        postern.admin("resource", "delete", "outside")
    await_true("it is routed again", lambda: "dev postern0" in route(topology.SSH), SOON_SECONDS)


def test_what_can_not_bypass_is_refused_with_the_reason(postern: Postern) -> None:
    for address in ("192.168.1.0/30", "*.example.org"):
        with pytest.raises(CommandFailed, match="only one name or one IP address"):
            _add_bypass(postern, "wide", address)
    _add_bypass(postern, "narrow", "10.9.9.9")
    with pytest.raises(CommandFailed, match="no access to it to give"):
        postern.grant("narrow")
    postern.admin("resource", "delete", "narrow")


# --- the same addresses behind two remote networks -------------------------------------------------------------------


def _add_to_office(postern: Postern, name: str, address: str, *options: str) -> list[str]:
    words = ("resource", "add", name, "--remote-network", OFFICE, "--address", address, *options)
    notes: list[str] = postern.admin(*words)["notes"]
    return notes


def test_the_same_range_in_two_networks_needs_an_order_and_explain_shows_the_loser(postern: Postern) -> None:
    with pytest.raises(CommandFailed, match="say with --priority which one wins"):
        _add_to_office(postern, "their lan", topology.HOME_LAN)
    postern.admin("resource", "update", "lan", "--priority", "5")
    notes = _add_to_office(postern, "their lan", topology.HOME_LAN)
    assert any("lan wins" in note for note in notes), notes
    postern.grant("their lan")
    try:
        address = "192.168.1.1:80"
        both = lambda: [other["name"] for other in explain(postern, address)["others"]]  # noqa: E731
        await_true("the laptop knows both", lambda: both() == ["their lan"], SOON_SECONDS)
        said = explain(postern, address)
        assert said["resource"]["remote_network"] == REMOTE_NETWORK
        assert "lower priority 0 against 5" in said["others"][0]["why_not"]
        postern.admin("resource", "update", "their lan", "--priority", "9")
        await_true("the other one wins", lambda: both() == ["lan"], SOON_SECONDS)
        assert explain(postern, address)["resource"]["remote_network"] == OFFICE
        with pytest.raises(CommandFailed, match="same priority 9"):
            postern.admin("resource", "update", "lan", "--priority", "9")
    finally:
        postern.admin("resource", "delete", "their lan")


def test_ranges_that_overlap_are_shown_when_they_are_saved(postern: Postern) -> None:
    notes = _add_to_office(postern, "corner", "192.168.1.96/28")
    postern.admin("resource", "delete", "corner")
    assert any("overlaps resource lan" in note and "corner wins" in note for note in notes), notes
