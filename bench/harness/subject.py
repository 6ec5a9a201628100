"""What a subject is, the far ends of all measurements, and what several subjects need on the lab's hosts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lab.hosts import CONGESTION
from lab.testbed import Lab, await_true
from lab.topology import NGINX

from . import session

IPERF_PORT = 5201
ECHO_PORT = 11111
"""By TCP and by UDP."""
FLOW_PORTS = "7000-7007"
"""Several, because a host has 28 000 ports of its own towards each of another's."""


@dataclass(frozen=True)
class Subject:
    name: str
    path: str
    """bare, direct or relay."""
    address: str
    """What the client on the laptop dials to reach the target."""
    processes: dict[str, str] = field(default_factory=dict)
    """Label in the results → name of the process in the lab; these carry the traffic."""
    prepare: Callable[[], None] = lambda: None
    """Before each measurement: makes the traffic go by `path`."""


def start_targets(lab: Lab) -> None:
    """The far ends of all measurements, on host `nginx`."""
    nginx = lab.host("nginx")
    nginx.spawn("iperf3", "iperf3", "--server", "--port", str(IPERF_PORT))
    load = str(session.build("flow_load"))
    nginx.spawn("echo", load, "echo", str(ECHO_PORT))
    nginx.spawn("flow-target", load, "serve", FLOW_PORTS)
    listening = ["sh", "-c", f"ss -Hltn sport = :{IPERF_PORT} | grep -q LISTEN"]
    await_true("iperf3 listens", lambda: nginx.run(*listening, check=False).returncode == 0, 10)
    for name, word in (("echo", "answering"), ("flow-target", "serving")):
        await_true(f"the target {name} is there", lambda name=name, word=word: word in lab.log(name), 10)


def forward_port(lab: Lab, table: str, *rules: str) -> None:
    """Port forwards on the home router; they exist only in benches and are gone with the lab."""
    lines = "\n".join(f'iifname "wan" {rule}' for rule in rules)
    chain = f"chain in {{ type nat hook prerouting priority dstnat;\n{lines}\n}}"
    lab.host("home-nat").run("nft", "-f", "-", text=f"table ip {table} {{\n{chain}\n}}\n")


def speak_for_tunnel(lab: Lab, table: str, network: str) -> None:
    """The target has no route back into a tunnel, so the connector speaks for the laptop, as Postern's does.

    The connector itself is not reached through the tunnel by UDP: Postern would take that for its direct way.
    """
    connector = lab.host("connector")
    connector.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    masquerade = f"chain out {{ type nat hook postrouting priority srcnat;\nip saddr {network} masquerade\n}}"
    closed = f"chain in {{ type filter hook input priority filter;\nip saddr {network} meta l4proto udp drop\n}}"
    connector.run("nft", "-f", "-", text=f"table ip {table} {{\n{masquerade}\n{closed}\n}}\n")


def route_target(lab: Lab, device: str, what: str) -> None:
    """The way to the target leads into this tunnel from now on; returns when the target answers through it."""
    laptop = lab.host("laptop")
    laptop.run("ip", "route", "replace", NGINX, "dev", device, "congctl", CONGESTION)
    ping = ["ping", "-c1", "-W1", NGINX]
    await_true(f"the tunnel of {what} works", lambda: laptop.run(*ping, check=False).returncode == 0, 20)
