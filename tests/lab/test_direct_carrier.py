"""A direct path out of a network that is translated twice, as behind a carrier's NAT. The lab is rebuilt for it."""

from __future__ import annotations

from lab import nat
from lab.postern import Postern
from lab.test_direct import _await_path, _restart
from lab.topology import HOME_NAT


def test_two_nats_in_a_row_let_a_direct_path_through(postern: Postern) -> None:
    nat.set_ipv6(postern.lab, works=False)
    nat.carrier(postern.lab)
    _restart(postern)
    session = _await_path(postern, "direct")
    assert session["remote"].startswith(f"{HOME_NAT}:"), session
