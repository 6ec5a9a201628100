"""The lab's hosts, links, addresses and firewall rules, as data. init.py turns them into namespaces.

    laptop ── laptop-nat ──┐                        ┌── home-nat ──┬── connector
    192.168.77.10   .77.1  │  internet 203.0.113.0/24  │   192.168.1.1  ├── nginx  192.168.1.20
                    .20 ───┴──── (bridge) ──────────┴─── .30       ├── ssh    192.168.1.21
                                    │                              └── db     192.168.1.22
                                  server .10

Both NATs drop what their inside did not ask for, so nothing on the internet reaches the home network; that is what
Postern has to overcome without an open port.
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
SERVER_NAME = "postern.example.org"
TARGET_NAME = "target.home.lan"
"""A second name of nginx, for resources with other ports than the resource `web`."""


@dataclass(frozen=True)
class Interface:
    """One end of a veth pair. `peer_host` holds the other end; with `bridge` that end joins this bridge there."""

    name: str
    address: str
    peer_host: str
    peer_name: str
    bridge: str = ""
    peer_address: str = ""


@dataclass(frozen=True)
class Host:
    name: str
    interfaces: tuple[Interface, ...] = ()
    bridges: tuple[tuple[str, str], ...] = ()
    """(name, address) of bridges on this host."""
    gateway: str = ""
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
    link = Interface("eth0", f"{address}/24", "home-nat", f"p-{name}", bridge="lan")
    return Host(name, (link,), gateway="192.168.1.1", dns="192.168.1.1", search="home.lan")


HOSTS: tuple[Host, ...] = (
    Host("internet", bridges=(("br0", f"{INTERNET}/24"),), router=True),
    Host(
        "server",
        (Interface("eth0", f"{SERVER}/24", "internet", "p-server", bridge="br0"),),
        gateway=INTERNET,
        dns=INTERNET,
    ),
    Host(
        "laptop-nat",
        (Interface("wan", f"{LAPTOP_NAT}/24", "internet", "p-laptop-nat", bridge="br0"),),
        gateway=INTERNET,
        dns=INTERNET,
        firewall=_nat("lan", "wan"),
        router=True,
    ),
    Host(
        "laptop",
        (Interface("eth0", f"{LAPTOP}/24", "laptop-nat", "lan", peer_address="192.168.77.1/24"),),
        gateway="192.168.77.1",
        dns="192.168.77.1",
    ),
    Host(
        "home-nat",
        (Interface("wan", f"{HOME_NAT}/24", "internet", "p-home-nat", bridge="br0"),),
        bridges=(("lan", "192.168.1.1/24"),),
        gateway=INTERNET,
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
