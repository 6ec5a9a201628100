"""What is compared. Each subject leads from `laptop` to the target on host `nginx`, over the same links and both NATs.

bare             a port forward on the home router: what the machine can do without any tunnel
wireguard-go     a tunnel laptop ↔ connector by a port forward; the connector forwards to the target
openvpn          the same
postern-direct   the real thing, which finds its way through both NATs by itself, without any port forward
postern-relay    the same processes through the server's relay, while the laptop's router lets no other UDP out
"""

from __future__ import annotations

from collections.abc import Callable

from lab.testbed import Lab, LabError
from lab.topology import HOME_NAT, NGINX

from . import openvpn, ours, wireguard
from .subject import ECHO_PORT, FLOW_PORTS, IPERF_PORT, Subject, forward_port


def start_bare(lab: Lab, mtu: int) -> Subject:
    tcp = f"tcp dport {{ {IPERF_PORT}, {ECHO_PORT}, {FLOW_PORTS} }} dnat to {NGINX}"
    forward_port(lab, "bare", tcp, f"udp dport {ECHO_PORT} dnat to {NGINX}")
    return Subject("bare", "bare", HOME_NAT)


STARTERS: dict[str, Callable[[Lab, int], Subject]] = {
    "bare": start_bare,
    wireguard.NAME: wireguard.start,
    openvpn.NAME: openvpn.start,
    "postern-direct": ours.start_direct,
    "postern-relay": ours.start_relay,
}
"""By name; called with the lab and the MTU of its links."""


def choose(text: str, known: list[str], what: str) -> list[str]:
    """The names of a comma-separated list. Raises LabError for one that is not known."""
    names = text.split(",")
    for name in names:
        if name not in known:
            raise LabError(f"there is no {what} {name!r}; choose from {', '.join(known)}")
    return names


def start(lab: Lab, names: str, mtu: int) -> list[Subject]:
    return [STARTERS[name](lab, mtu) for name in choose(names, list(STARTERS), "subject")]
