"""The lab's links made like others: without the offloads of virtual links, or with packets of another size."""

from __future__ import annotations

from lab.testbed import Lab
from lab.topology import HOSTS

ETHERNET_MTU = 1500
_OFF = [item for feature in ("tso", "gso", "gro", "tx-udp-segmentation") for item in (feature, "off")]


def turn_offloads_off(lab: Lab) -> None:
    """Makes the internet's links carry packets of MTU size, as a real network card would put them on the wire.

    With offloads a whole train crosses a virtual link as one packet, which flatters everybody who sends trains.
    """
    for host, device in _ends(only="internet"):
        lab.host(host).run("ethtool", "-K", device, *_OFF)


def set_mtu(lab: Lab, mtu: int) -> None:
    """On every link of the lab, at both ends."""
    for host, device in _ends():
        lab.host(host).run("ip", "link", "set", device, "mtu", str(mtu))


def _ends(only: str = "") -> list[tuple[str, str]]:
    """(host, device) of both ends of each link, or of each link that leads to one host; bridges take what they join."""
    links = [(host.name, link) for host in HOSTS for link in host.interfaces if only in ("", link.peer_host)]
    return [end for name, link in links for end in ((name, link.name), (link.peer_host, link.peer_name))]
