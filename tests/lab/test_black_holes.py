"""Direct paths that carry one direction only, or small packets only: nothing tells the ends, and no byte may be lost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from lab import nat
from lab.postern import Postern
from lab.test_direct import Transfer, _await_path, _expected, _restart, _session, bytes_port  # noqa: F401
from lab.test_relay_tls import Bulk
from lab.testbed import Host, await_true

BACK_SECONDS = 5.0
STALL_SECONDS = 6.0
SMALL_MTU = 1330


@pytest.fixture
def direct(postern: Postern) -> Iterator[Postern]:
    """IPv4 only, a session that is direct; the routers are put back afterwards."""
    routers = [postern.lab.host("laptop-nat"), postern.lab.host("home-nat")]
    nat.set_ipv6(postern.lab, works=False)
    _restart(postern)
    _await_path(postern, "direct")
    yield postern
    for router in routers:
        nat.unblock_udp(router)
    nat.set_way_mtu(postern.lab, 1500)
    nat.set_ipv6(postern.lab, works=True)


def _bytes_sent(postern: Postern) -> int:
    return int(_session(postern).get("bytes_sent", 0))


@pytest.mark.parametrize("router", ["home-nat", "laptop-nat"], ids=["to the client", "to the connector"])
def test_a_download_goes_on_by_the_relay_when_one_direction_of_its_path_dies(
    direct: Postern,
    bytes_port: int,  # noqa: F811
    router: str,
) -> None:
    transfer = Transfer(direct, bytes_port)
    transfer.runs()
    assert _session(direct)["path"] == "direct"
    nat.block_one_way(direct.lab.host(router))
    cut = time.monotonic()
    await_true("the session is relayed", lambda: _session(direct)["path"] == "relay", BACK_SECONDS)
    print(f"relayed {time.monotonic() - cut:.2f} s after the cut")
    size, digest, longest = transfer.end()
    print(f"longest time without a byte: {longest:.2f} s")
    assert (size, digest) == _expected()
    assert longest < BACK_SECONDS


@pytest.mark.parametrize("router", ["home-nat", "laptop-nat"], ids=["to the client", "to the connector"])
def test_an_upload_goes_on_by_the_relay_when_one_direction_of_its_path_dies(direct: Postern, router: str) -> None:
    bulk = Bulk(direct, 192)
    before = _bytes_sent(direct)
    await_true("the transfer is under way", lambda: bulk.runs() and _bytes_sent(direct) > before + 4_000_000, 20)
    nat.block_one_way(direct.lab.host(router))
    await_true("the session is relayed", lambda: _session(direct)["path"] == "relay", BACK_SECONDS)
    assert bulk.runs(), "it was still running"
    assert bulk.is_exact()


def test_a_download_outlives_a_path_that_drops_large_packets(direct: Postern, bytes_port: int) -> None:  # noqa: F811
    transfer = Transfer(direct, bytes_port)
    transfer.runs()
    nat.set_way_mtu(direct.lab, SMALL_MTU)
    size, digest, longest = transfer.end()
    print(f"longest time without a byte: {longest:.2f} s, then {_session(direct)['path']}")
    assert (size, digest) == _expected()
    assert longest < STALL_SECONDS
    _await_path(direct, "direct", 60)


def test_an_upload_outlives_a_path_that_drops_large_packets(direct: Postern) -> None:
    bulk = Bulk(direct, 192)
    before = _bytes_sent(direct)
    await_true("the transfer is under way", lambda: bulk.runs() and _bytes_sent(direct) > before + 4_000_000, 20)
    nat.set_way_mtu(direct.lab, SMALL_MTU)
    assert bulk.runs(), "it was still running"
    assert bulk.is_exact(60)
    _await_path(direct, "direct", 60)


_COUNT_LARGE = """
table inet jumbo
delete table inet jumbo
table inet jumbo {
  chain forward {
    type filter hook forward priority -20
    iifname "lan" meta l4proto udp meta length > 8000 counter
  }
}
"""


def _large_packets(router: Host) -> int:
    listed = json.loads(router.output("nft", "-j", "list", "table", "inet", "jumbo"))
    rule = next(item["rule"]["expr"] for item in listed["nftables"] if "rule" in item)
    return int(next(part["counter"]["packets"] for part in rule if "counter" in part))


def test_jumbo_packets_are_used_where_the_path_has_them_and_left_where_it_loses_them(
    postern: Postern,
    bytes_port: int,  # noqa: F811
) -> None:
    """The last one: it changes every link."""
    nat.set_ipv6(postern.lab, works=False)
    nat.set_link_mtu(postern.lab, 9000)
    nat.set_way_mtu(postern.lab, 9000)
    home = postern.lab.host("home-nat")
    # A train of small packets is one large one to the router, unless the sender's card takes it apart.
    postern.connector.run("ethtool", "-K", "eth0", "tx-udp-segmentation", "off")
    home.run("nft", "-f", "-", text=_COUNT_LARGE)
    _restart(postern)
    _await_path(postern, "direct")
    await_true("the client found the size out", lambda: _session(postern)["packet_size"] == 8952, 20)
    assert Bulk(postern, 32).is_exact()
    transfer = Transfer(postern, bytes_port)
    transfer.runs()
    await_true("the connector sends large packets", lambda: _large_packets(home) > 100, 20)
    nat.set_way_mtu(postern.lab, 1500)
    size, digest, longest = transfer.end()
    print(f"longest time without a byte: {longest:.2f} s, then {_session(postern)['path']}")
    assert (size, digest) == _expected()
    assert longest < STALL_SECONDS
    assert Bulk(postern, 32).is_exact()
    _await_path(postern, "direct", 60)
    await_true("the common size is used", lambda: _session(postern)["packet_size"] == 1452, 20)
