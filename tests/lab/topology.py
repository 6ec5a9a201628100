"""The lab's hosts, links, addresses and firewall rules, as data. init.py turns them into namespaces.

    laptop ── laptop-nat ──┐                        ┌── home-nat ──┬── connector
    192.168.77.10   .77.1  │  internet 203.0.113.0/24  │   192.168.1.1  ├── nginx  192.168.1.20
                    .20 ───┴──── (bridge) ──────────┴─── .30       ├── ssh    192.168.1.21
                                    │                              └── db     192.168.1.22
                                  server .10

Both NATs drop what their inside did not ask for, so nothing on the internet reaches the home network; that is what
Postern has to overcome without an open port.

Everything has IPv6 beside IPv4: the internet is 2001:db8::/64 with the same last numbers, the laptop's network
2001:db8:77::/64, the home network 2001:db8:1::/64. IPv6 has no NAT, but the same two routers drop what was not asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

SERVER = "203.0.113.10"
INTERNET = "203.0.113.1"
LAPTOP_NAT = "203.0.113.20"
HOME_NAT = "203.0.113.30"
LAPTOP = "192.168.77.10"
CONNECTOR = "192.168.1.10"
NGINX = "192.168.1.20"
SSH = "192.168.1.21"
DB = "192.168.1.22"
HOME_LAN = "192.168.1.0/24"
HOME_LAN6 = "2001:db8:1::/64"
LAPTOP_LAN6 = "2001:db8:77::/64"
SERVER6 = "2001:db8::10"
INTERNET6 = "2001:db8::1"
LAPTOP_NAT6 = "2001:db8::20"
HOME_NAT6 = "2001:db8::30"
NGINX6 = "2001:db8:1::20"
SERVER_NAME = "postern.example.org"
TARGET_NAME = "target.home.lan"
"""A second name of nginx, for resources with other ports than the resource `web`."""
IPV6_NAME = "six.home.lan"
"""nginx by IPv6 only."""
POOL_NAME = "pool.home.lan"
"""Whatever is below it is nginx."""
BOTH_NAME = "both.home.lan"
"""nginx by both."""


@dataclass(frozen=True)
class Interface:
    """One end of a veth pair. `peer_host` holds the other end; with `bridge` that end joins this bridge there."""

    name: str
    addresses: tuple[str, ...]
    """With prefix length: IPv4, then IPv6."""
    peer_host: str
    peer_name: str
    bridge: str = ""
    peer_addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Host:
    name: str
    interfaces: tuple[Interface, ...] = ()
    bridges: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(name, addresses) of bridges on this host."""
    gateways: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    """(prefix, gateway) beside the default routes."""
    dns: str = ""
    search: str = ""
    firewall: str = ""
    """nftables rules, loaded before the links come up."""
    router: bool = False


def _nat(inside: str, outside: str) -> str:
    """A plain home router: masquerades, answers its inside only, lets in only what was asked for.

    `ct status dnat` admits port forwards. There are none unless a bench adds some (bench/throughput), and the tests
    of the topology prove that without them nothing comes in.
    """
    return f"""
table inet filter {{
  chain input {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname {{ "lo", "{inside}" }} accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ct status dnat accept
    iifname "{inside}" oifname "{outside}" accept
  }}
}}
table ip nat {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "{outside}" masquerade
  }}
}}
"""


def _at_home(name: str, address: str) -> Host:
    number = address.split(".")[-1]
    addresses = (f"{address}/24", f"2001:db8:1::{number}/64")
    link = Interface("eth0", addresses, "home-nat", f"p-{name}", bridge="lan")
    return Host(name, (link,), gateways=("192.168.1.1", "2001:db8:1::1"), dns="192.168.1.1", search="home.lan")


def _on_the_internet(name: str, address: str, address6: str, near: str) -> Interface:
    return Interface(near, (f"{address}/24", f"{address6}/64"), "internet", f"p-{name}", bridge="br0")


_INTERNET_GATEWAYS = (INTERNET, INTERNET6)

HOSTS: tuple[Host, ...] = (
    Host(
        "internet",
        bridges=(("br0", (f"{INTERNET}/24", f"{INTERNET6}/64")),),
        routes=((LAPTOP_LAN6, LAPTOP_NAT6), (HOME_LAN6, HOME_NAT6)),
        router=True,
    ),
    Host(
        "server",
        (_on_the_internet("server", SERVER, SERVER6, "eth0"),),
        gateways=_INTERNET_GATEWAYS,
        dns=INTERNET,
    ),
    Host(
        "laptop-nat",
        (_on_the_internet("laptop-nat", LAPTOP_NAT, LAPTOP_NAT6, "wan"),),
        gateways=_INTERNET_GATEWAYS,
        dns=INTERNET,
        firewall=_nat("lan", "wan"),
        router=True,
    ),
    Host(
        "laptop",
        (
            Interface(
                "eth0",
                (f"{LAPTOP}/24", "2001:db8:77::10/64"),
                "laptop-nat",
                "lan",
                peer_addresses=("192.168.77.1/24", "2001:db8:77::1/64"),
            ),
        ),
        gateways=("192.168.77.1", "2001:db8:77::1"),
        dns="192.168.77.1",
    ),
    Host(
        "home-nat",
        (_on_the_internet("home-nat", HOME_NAT, HOME_NAT6, "wan"),),
        bridges=(("lan", ("192.168.1.1/24", "2001:db8:1::1/64")),),
        gateways=_INTERNET_GATEWAYS,
        dns=INTERNET,
        firewall=_nat("lan", "wan"),
        router=True,
    ),
    _at_home("connector", CONNECTOR),
    _at_home("nginx", NGINX),
    _at_home("ssh", SSH),
    _at_home("db", DB),
)

HOST_NAMES = tuple(host.name for host in HOSTS)

HOSTS_FILE = """127.0.0.1 localhost
::1 localhost ip6-localhost
127.0.1.1 {name}
"""
