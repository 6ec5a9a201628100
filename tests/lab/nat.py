"""Kinds of NAT (RFC 4787) for the lab's two routers, with nftables alone, and other ways to be in somebody's way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .testbed import Host, Lab
from .topology import HOME_NAT, LAPTOP_NAT, SERVER, SERVER6

PLAIN = """
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname "wan" masquerade
  }
"""
"""Endpoint-independent mapping while the port is free; filtering by address and port."""

RANDOM = """
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname "wan" masquerade fully-random
  }
"""
"""Each destination sees another port."""

PER_ADDRESS = f"""
  chain postrouting {{
    type nat hook postrouting priority srcnat
    oifname "wan" meta l4proto udp ip daddr {SERVER} masquerade to :41000-41999
    oifname "wan" meta l4proto udp masquerade to :42000-42999
    oifname "wan" masquerade
  }}
"""
"""The server sees one port, everybody else another."""

FULL_CONE = """
  map inside {
    type inet_service : ipv4_addr
    flags dynamic,timeout
    timeout 10m
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname "wan" meta l4proto udp update @inside { udp sport : ip saddr }
    oifname "wan" masquerade
  }
  chain prerouting {
    type nat hook prerouting priority dstnat
    iifname "wan" meta l4proto udp dnat to udp dport map @inside
  }
"""
"""Whoever knows the port gets in."""


HAIRPIN = f"""
  map inside {{
    type inet_service : ipv4_addr
    flags dynamic,timeout
    timeout 10m
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    oifname "wan" meta l4proto udp update @inside {{ udp sport : ip saddr }}
    oifname "wan" masquerade
    oifname {{ "lan", "guests" }} ct status dnat snat to {HOME_NAT}
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat
    ip daddr {HOME_NAT} meta l4proto udp dnat to udp dport map @inside
  }}
"""
"""A full cone that its own inside may use too, and looks from outside when it does (RFC 4787 REQ-9)."""


def _load(host: Host, rules: str) -> None:
    host.run("nft", "-f", "-", text=rules)


def set_kind(router: Host, rules: str) -> None:
    """The router's NAT is of this kind from now on. Ports that it has given already are kept."""
    _load(router, f"table ip nat\ndelete table ip nat\ntable ip nat {{\n{rules}}}\n")


def block_udp(router: Host, but: str = "") -> None:
    """The router forwards no UDP any more, but that from and to one address."""
    rule = f"ip daddr != {but} ip saddr != {but} drop" if but else "drop"
    rules = f"type filter hook forward priority -10; meta l4proto udp {rule}"
    second = "meta nfproto ipv6 meta l4proto udp drop" if but else ""
    unblock_udp(router)
    _load(router, f"table inet no_udp {{\n chain forward {{\n {rules}\n {second}\n }}\n}}\n".replace("; ", "\n "))


def block_https_udp(router: Host) -> None:
    """The router forwards no UDP to or from port 443, as networks that want no QUIC do. unblock_udp() ends it."""
    unblock_udp(router)
    rules = "type filter hook forward priority -10\n udp dport 443 drop\n udp sport 443 drop"
    _load(router, f"table inet no_udp {{\n chain forward {{\n {rules}\n }}\n}}\n")


def block_one_way(router: Host) -> None:
    """UDP from the inside of this router to another place than the server is dropped; the other direction passes."""
    unblock_udp(router)
    rules = f'type filter hook forward priority -10\n iifname "lan" ip daddr != {SERVER} meta l4proto udp drop'
    _load(router, f"table inet no_udp {{\n chain forward {{\n {rules}\n }}\n}}\n")


def set_way_mtu(lab: Lab, mtu: int) -> None:
    """Packets between the two routers have at most this size; those between either and the server are as before."""
    for router, other in (("laptop-nat", HOME_NAT), ("home-nat", LAPTOP_NAT)):
        lab.host(router).run("ip", "route", "replace", f"{other}/32", "dev", "wan", "mtu", "lock", str(mtu))


def set_link_mtu(lab: Lab, mtu: int) -> None:
    """Every link of the lab takes packets of this size: networks with jumbo frames."""
    for name in lab.pids():
        host = lab.host(name)
        for link in host.output("ip", "-o", "link", "show").splitlines():
            interface = link.split(": ")[1].partition("@")[0]
            if interface not in ("lo", "postern0"):
                host.run("ip", "link", "set", interface, "mtu", str(mtu))


def unblock_udp(router: Host) -> None:
    _load(router, "table inet no_udp\ndelete table inet no_udp\n")


@contextmanager
def no_network(router: Host) -> Iterator[None]:
    """The router forwards nothing."""
    _load(router, "table inet no_network {\n chain forward {\n type filter hook forward priority -10\n drop\n }\n}\n")
    try:
        yield
    finally:
        _load(router, "table inet no_network\ndelete table inet no_network\n")


@contextmanager
def relayed(lab: Lab) -> Iterator[None]:
    """No UDP leaves the laptop's network but to the server: everything goes through its relay."""
    router = lab.host("laptop-nat")
    v4 = f"meta l4proto udp ip daddr != {SERVER} ip saddr != {SERVER} drop"
    v6 = f"meta l4proto udp ip6 daddr != {SERVER6} ip6 saddr != {SERVER6} drop"
    chain = f"chain forward {{\n type filter hook forward priority -10\n {v4}\n {v6}\n }}"
    _load(router, f"table inet relay_only {{\n {chain}\n}}\n")
    try:
        yield
    finally:
        _load(router, "table inet relay_only\ndelete table inet relay_only\n")


def set_ipv6(lab: Lab, works: bool) -> None:
    """UDP over IPv6 between the laptop's network and the world: as built, or dropped."""
    rules = "table ip6 no_udp6\ndelete table ip6 no_udp6\n"
    if not works:
        rules += "table ip6 no_udp6 {\n chain forward {\n type filter hook forward priority -10\n"
        rules += " meta l4proto udp drop\n }\n}\n"
    _load(lab.host("laptop-nat"), rules)


def carrier(lab: Lab) -> None:
    """One more router between the laptop and its router, as where a carrier translates a second time. For good."""
    laptop = lab.host("laptop")
    pid = str(laptop.spawn("home-router", "unshare", "-n", "sleep", "infinity"))
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "--")
    laptop.run("sh", "-ec", f"until [ $(readlink /proc/{pid}/ns/net) != $(readlink /proc/self/ns/net) ]; do :; done")
    laptop.run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan", "netns", pid)
    laptop.run("ip", "link", "set", "eth0", "netns", pid)
    laptop.run("ip", "address", "add", "10.9.0.2/24", "dev", "lan0")
    laptop.run("ip", "link", "set", "lan0", "up")
    laptop.run("ip", "route", "replace", "default", "via", "10.9.0.1")
    for words in (
        "ip address add 10.9.0.1/24 dev lan",
        "ip link set lan up",
        "ip link set lo up",
        "ip address replace 192.168.77.10/24 dev eth0",
        "ip link set eth0 up",
        "ip route replace default via 192.168.77.1",
        "sysctl -q -w net.ipv4.ip_forward=1",
    ):
        laptop.run(*inside, *words.split())
    rules = PLAIN.replace('"wan"', '"eth0"')
    laptop.run(*inside, "nft", "-f", "-", text=f"table ip nat {{\n{rules}}}\n")


def join_home(lab: Lab, pids: dict[str, int]) -> None:
    """The laptop comes home: a cable into the home network, and its old one is unplugged."""
    laptop, router = lab.host("laptop"), lab.host("home-nat")
    laptop.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "p-laptop", "netns", str(pids["home-nat"]))
    router.run("ip", "link", "set", "p-laptop", "master", "lan", "up")
    laptop.run("ip", "address", "add", "192.168.1.77/24", "dev", "eth1")
    laptop.run("ip", "link", "set", "eth1", "up")
    laptop.run("ip", "route", "replace", "default", "via", "192.168.1.1", "dev", "eth1")
    laptop.run("ip", "link", "set", "eth0", "down")


def join_guests(lab: Lab, pids: dict[str, int]) -> None:
    """The laptop comes into a network of its own behind the home router, which forwards nothing to the other one."""
    laptop, router = lab.host("laptop"), lab.host("home-nat")
    laptop.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "guests", "netns", str(pids["home-nat"]))
    router.run("ip", "address", "add", "192.168.9.1/24", "dev", "guests")
    router.run("ip", "link", "set", "guests", "up")
    router.run("nft", "add", "rule", "inet", "filter", "forward", "iifname", "guests", "oifname", "wan", "accept")
    laptop.run("ip", "address", "add", "192.168.9.77/24", "dev", "eth1")
    laptop.run("ip", "link", "set", "eth1", "up")
    laptop.run("ip", "route", "replace", "default", "via", "192.168.9.1", "dev", "eth1")
    laptop.run("ip", "link", "set", "eth0", "down")
