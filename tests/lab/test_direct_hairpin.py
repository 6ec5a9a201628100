"""Two networks behind one router that do not reach each other but by its outside. The lab is rebuilt for it."""

from __future__ import annotations

from lab import nat
from lab.postern import Postern
from lab.test_direct import _await_path, _await_relayed, _restart
from lab.topology import CONNECTOR, HOME_NAT


def test_the_outside_of_a_router_that_both_are_behind_is_a_direct_path_where_the_router_lets_it(postern: Postern) -> None:
    nat.set_ipv6(postern.lab, works=False)
    nat.join_guests(postern.lab, postern.lab.pids())
    home = postern.lab.host("home-nat")
    _restart(postern)
    _await_relayed(postern, "no check was answered")
    assert postern.laptop.run("ping", "-c", "1", "-W", "1", CONNECTOR, check=False).returncode != 0
    nat.set_kind(home, nat.HAIRPIN)
    _restart(postern)
    session = _await_path(postern, "direct")
    assert session["remote"].startswith(f"{HOME_NAT}:"), session
