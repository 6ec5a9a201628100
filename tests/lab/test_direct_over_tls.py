"""Direct paths of a client that reaches its relay over TLS only: where UDP is blocked to some places, not to all."""

from __future__ import annotations

from lab import nat
from lab.postern import Postern
from lab.test_direct import _await_path, _await_relayed, _goes, _restart, _session
from lab.testbed import await_true
from lab.topology import CONNECTOR, HOME_NAT

LAN_SECONDS = 30.0


def _relay_transport(postern: Postern) -> str:
    return str((postern.status().get("relay") or {}).get("transport"))


def test_a_network_that_blocks_udp_to_port_443_only_has_a_direct_path_where_the_other_side_lets_it_in(
    clean: Postern,
) -> None:
    nat.block_https_udp(clean.lab.host("laptop-nat"))
    nat.set_kind(clean.lab.host("home-nat"), nat.FULL_CONE)
    _restart(clean)
    session = _await_path(clean, "direct")
    assert session["remote"].startswith(f"{HOME_NAT}:"), session
    assert _relay_transport(clean) == "tls"


def test_a_network_that_blocks_udp_to_port_443_only_has_a_direct_path_over_ipv6(clean: Postern) -> None:
    nat.block_https_udp(clean.lab.host("laptop-nat"))
    nat.set_ipv6(clean.lab, works=True)
    _restart(clean)
    session = _await_path(clean, "direct")
    assert session["remote"].startswith("[2001:db8:1::10]:"), session
    assert _relay_transport(clean) == "tls"


def test_where_no_udp_gets_out_status_says_that(clean: Postern) -> None:
    nat.block_udp(clean.lab.host("laptop-nat"))
    _restart(clean)
    session = _await_relayed(clean, "UDP does not get out of this network")
    assert session["transport"] == "tls"
    assert "UDP does not get out of this network" in clean.client("status").stdout


def test_two_of_one_lan_that_lets_no_udp_out_use_the_lan(clean: Postern) -> None:
    """The last one: the laptop stays at home."""
    nat.block_udp(clean.lab.host("home-nat"))
    nat.join_home(clean.lab, clean.lab.pids())
    _restart(clean)
    await_true(
        "the session goes through the LAN",
        lambda: _goes(clean, "direct") and _session(clean)["remote"].startswith(f"{CONNECTOR}:"),
        LAN_SECONDS,
        every=0.1,
    )
    assert _relay_transport(clean) == "tls"
