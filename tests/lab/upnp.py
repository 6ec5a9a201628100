"""miniupnpd on one of the lab's two routers, and a router of bad character in its place."""

from __future__ import annotations

import json

from .paths import REPO
from .testbed import Host, Lab, await_true
from .topology import HOME_NAT, LAPTOP_NAT

READY_SECONDS = 10.0
_SIDES = {
    "home": ("home-nat", "192.168.1.1", HOME_NAT, "11.22.33.30"),
    "laptop": ("laptop-nat", "192.168.77.1", LAPTOP_NAT, "11.22.33.20"),
}

_CHAINS = """
table inet upnp
delete table inet upnp
table inet upnp {
  chain forward {
    type filter hook forward priority -5
    jump miniupnpd
  }
  chain prerouting {
    type nat hook prerouting priority -100
    jump prerouting_miniupnpd
  }
  chain postrouting {
    type nat hook postrouting priority 90
    jump postrouting_miniupnpd
  }
  chain miniupnpd {
  }
  chain prerouting_miniupnpd {
  }
  chain postrouting_miniupnpd {
  }
}
"""


class Router:
    """A home router that maps ports.

    miniupnpd does not work on addresses that are for documentation, as the lab's are: the router has one more, which it
    names as its own, and which the internet routes to it.
    """

    def __init__(self, lab: Lab, side: str) -> None:
        self.lab = lab
        self.name, self.inside, self.address, self.outside = _SIDES[side]
        self.host: Host = lab.host(self.name)
        self.process = f"miniupnpd-{side}"
        lab.host("internet").run("ip", "route", "replace", f"{self.outside}/32", "via", self.address)
        self.host.run("ip", "address", "replace", f"{self.outside}/32", "dev", "lo")

    def start(self, *, nat_pmp: bool = True, upnp: bool = True) -> None:
        """With no mapping, as after a restart of the router."""
        self.host.run("nft", "-f", "-", text=_CHAINS)
        settings = {
            "ext_ifname": "wan",
            "ext_ip": self.outside,
            "listening_ip": "lan",
            "http_port": "5000",
            "ipv6_disable": "yes",
            "enable_natpmp": "yes" if nat_pmp else "no",
            "enable_upnp": "yes" if upnp else "no",
            "secure_mode": "yes",
            "upnp_table_name": "upnp",
            "upnp_nat_table_name": "upnp",
            "uuid": "11111111-2222-3333-4444-555555555555",
        }
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        self.host.run("tee", f"/run/{self.process}.conf", text=text)
        self.host.spawn(self.process, "miniupnpd", "-d", "-f", f"/run/{self.process}.conf", "-P", f"/run/{self.process}.pid")
        port = ":5000 " if upnp else ":5351 "
        await_true("miniupnpd listens", lambda: port in self.host.run("ss", "-Hltun").stdout, READY_SECONDS)

    def stop(self) -> None:
        self.lab.stop(self.process)
        self.host.run("nft", "-f", "-", text="table inet upnp\ndelete table inet upnp\n")

    def restart(self, **what: bool) -> None:
        """Everything that the router knew is gone: its mappings, and who talks to whom."""
        self.stop()
        self.host.run("sysctl", "-q", "-w", "net.ipv6.conf.wan.keep_addr_on_down=1")
        self.host.run("ip", "link", "set", "wan", "down")
        self.host.run("ip", "link", "set", "wan", "up")
        for gateway in ("203.0.113.1", "2001:db8::1"):
            self.host.run("ip", "route", "replace", "default", "via", gateway, check=False)
        self.start(**what)

    def mappings(self) -> list[int]:
        """Ports of the outside that lead inside."""
        listed = json.loads(self.host.output("nft", "-j", "list", "chain", "inet", "upnp", "prerouting_miniupnpd"))
        rules = [item["rule"]["expr"] for item in listed["nftables"] if "rule" in item]
        return [
            part["match"]["right"]
            for rule in rules
            for part in rule
            if part.get("match", {}).get("left", {}).get("payload", {}).get("field") == "dport"
        ]


class BadRouter:
    """Answers searches of UPnP as the home router, and then as `temper` says; see bad_router.py."""

    def __init__(self, lab: Lab, temper: str) -> None:
        self.lab = lab
        program = str(REPO / "tests/lab/bad_router.py")
        lab.host("home-nat").spawn("bad-router", "/usr/bin/python3", "-B", program, temper)
        await_true("the bad router listens", lambda: "ready" in self.said, READY_SECONDS)

    @property
    def said(self) -> str:
        return self.lab.log("bad-router")

    def stop(self) -> None:
        self.lab.stop("bad-router")
