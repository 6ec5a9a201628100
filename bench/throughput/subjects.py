"""What is compared. Each subject leads from `laptop` to the target on host `nginx`, over the same links and both NATs.

bare             a port forward on the home router: what the machine can do without any tunnel
wireguard-go     a tunnel laptop ↔ connector by a port forward; the connector forwards to the target
postern-direct   the real thing, which finds its way through both NATs by itself, without any port forward
postern-relay    the same processes through the server's relay, while the laptop's router lets no other UDP out

The two port forwards exist only here and are gone with the lab.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lab.hosts import CONGESTION
from lab.postern import Postern
from lab.testbed import Lab, LabError, await_true
from lab.topology import CONNECTOR, HOME_NAT, NGINX, SERVER, TARGET_NAME

IPERF_PORT = 5201
SOCKPERF_PORT = 11111
FLOW_PORTS = "7000-7007"
"""Several, because a host has 28 000 ports of its own towards each of another's."""
WIREGUARD_PORT = 51820
# What wireguard-go itself chooses for a 1500 byte link: 60 bytes less for IPv4, 80 for IPv6.
WIREGUARD_MTU = 1420


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
    nginx.spawn("sockperf", "sockperf", "server", "--tcp", "-i", "0.0.0.0", "-p", str(SOCKPERF_PORT))
    for port in (IPERF_PORT, SOCKPERF_PORT):
        listening = ["sh", "-c", f"ss -Hltn sport = :{port} | grep -q LISTEN"]
        await_true(f"port {port} listens", lambda: nginx.run(*listening, check=False).returncode == 0, 10)


def turn_offloads_off(lab: Lab) -> None:
    """Makes the internet's links carry packets of MTU size, as a real network card would put them on the wire.

    With offloads a whole train crosses a virtual link as one packet, which flatters everybody who sends trains.
    """
    ports = [("internet", f"p-{name}") for name in ("server", "laptop-nat", "home-nat")]
    for host, device in [("server", "eth0"), ("laptop-nat", "wan"), ("home-nat", "wan"), *ports]:
        off = [item for feature in ("tso", "gso", "gro", "tx-udp-segmentation") for item in (feature, "off")]
        lab.host(host).run("ethtool", "-K", device, *off)


def start_bare(lab: Lab) -> Subject:
    _forward_port(lab, "bare", f"tcp dport {{ {IPERF_PORT}, {SOCKPERF_PORT}, {FLOW_PORTS} }} dnat to {NGINX}")
    return Subject("bare", "bare", HOME_NAT)


def start_wireguard(lab: Lab) -> Subject:
    _forward_port(lab, "wireguard", f"udp dport {WIREGUARD_PORT} dnat to {CONNECTOR}")
    laptop, connector = _Keys.make(lab, "laptop"), _Keys.make(lab, "connector")
    _start_wireguard_go(lab, "connector", "10.9.0.2/24")
    _start_wireguard_go(lab, "laptop", "10.9.0.1/24")
    listen = ["listen-port", str(WIREGUARD_PORT), "private-key", connector.file]
    lab.host("connector").run("wg", "set", "wg0", *listen, "peer", laptop.public, "allowed-ips", "10.9.0.1/32")
    peer = ["peer", connector.public, "endpoint", f"{HOME_NAT}:{WIREGUARD_PORT}"]
    peer += ["allowed-ips", f"10.9.0.2/32,{NGINX}/32"]
    lab.host("laptop").run("wg", "set", "wg0", "private-key", laptop.file, *peer)
    lab.host("laptop").run("ip", "route", "add", NGINX, "dev", "wg0", "congctl", CONGESTION)
    # The target has no route back into the tunnel, so the connector speaks for the laptop, as Postern's does.
    lab.host("connector").run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    masquerade = "chain out { type nat hook postrouting priority srcnat;\nip saddr 10.9.0.0/24 masquerade\n}"
    lab.host("connector").run("nft", "-f", "-", text=f"table ip wireguard {{\n{masquerade}\n}}\n")
    ping = ["ping", "-c1", "-W1", NGINX]
    await_true("the wireguard-go tunnel works", lambda: lab.host("laptop").run(*ping, check=False).returncode == 0, 20)
    labels = {f"wireguard-go@{host}": f"wireguard-{host}" for host in ("laptop", "connector")}
    return Subject("wireguard-go", "direct", NGINX, labels)


def start_postern_direct(lab: Lab) -> Subject:
    return _start_postern(lab, "direct")


def start_postern_relay(lab: Lab) -> Subject:
    return _start_postern(lab, "relay")


def _start_postern(lab: Lab, path: str) -> Subject:
    postern = Postern(lab)
    if "posternd" not in lab.processes():
        postern.start_all()
        postern.add_resource("target", TARGET_NAME, tcp=f"{IPERF_PORT},{SOCKPERF_PORT},{FLOW_PORTS}")
        postern.grant("target")
    address = await_true("the laptop knows the target's name", lambda: postern.virtual_address(TARGET_NAME), 20)
    labels = {"postern-connector": "postern-connector", "posternd": "posternd"}
    if path == "relay":
        labels["postern-server"] = "postern-server"
    return Subject("postern", path, address, labels, lambda: _take_path(postern, address, path))


def _take_path(postern: Postern, address: str, path: str) -> None:
    """Closes or opens the direct way, and waits until the session goes as it shall."""
    if path in _paths(postern):
        return
    if path == "relay":
        _close_direct_way(postern.lab)
    else:
        _open_direct_way(postern.lab)
        # A client that has looked in vain looks again ever more rarely; a new session looks at once.
        postern.client("disconnect")
        postern.client("connect")
        postern.await_online()
    knock = ["timeout", "5", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{SOCKPERF_PORT}"]

    def goes() -> bool:
        postern.laptop.run(*knock, check=False)  # Sessions begin, and look for a better way, when a flow needs them.
        return _paths(postern) == {path}

    await_true(f"the session goes {path}", goes, 30, every=0.2)


def _paths(postern: Postern) -> set[str]:
    return {session["path"] for session in postern.status()["sessions"] if session["state"] == "ready"}


def _close_direct_way(lab: Lab) -> None:
    """No other UDP but wireguard-go's and that with the server leaves the laptop's network."""
    others = f"ip saddr != {SERVER} ip daddr != {SERVER} udp sport != {WIREGUARD_PORT} udp dport != {WIREGUARD_PORT}"
    rules = f"meta l4proto udp {others} drop\nmeta nfproto ipv6 meta l4proto udp drop"
    chain = f"chain forward {{ type filter hook forward priority -10;\n{rules}\n}}"
    lab.host("laptop-nat").run("nft", "-f", "-", text=f"table inet relay_only {{\n{chain}\n}}\n")


def _open_direct_way(lab: Lab) -> None:
    lab.host("laptop-nat").run("nft", "-f", "-", text="table inet relay_only\ndelete table inet relay_only\n")


STARTERS = {
    "bare": start_bare,
    "wireguard-go": start_wireguard,
    "postern-direct": start_postern_direct,
    "postern-relay": start_postern_relay,
}


@dataclass(frozen=True)
class _Keys:
    file: str
    public: str

    @classmethod
    def make(cls, lab: Lab, host: str) -> _Keys:
        private = lab.host(host).output("wg", "genkey")
        path = f"/run/wireguard-{host}.key"
        lab.host(host).run("sh", "-c", f"umask 077; cat > {path}", text=private)
        return cls(path, lab.host(host).output("wg", "pubkey", text=private))


def _start_wireguard_go(lab: Lab, name: str, address: str) -> None:
    host = lab.host(name)
    host.spawn(f"wireguard-{name}", "wireguard-go", "--foreground", "wg0", env={"LOG_LEVEL": "error"})

    def ready() -> bool:
        if not lab.is_running(f"wireguard-{name}"):
            raise LabError(f"wireguard-go ended while starting:\n{lab.log(f'wireguard-{name}')[-2000:]}")
        return host.run("wg", "show", "wg0", check=False).returncode == 0

    await_true(f"wireguard-go answers on {name}", ready, 10)
    host.run("ip", "address", "add", address, "dev", "wg0")
    host.run("ip", "link", "set", "wg0", "mtu", str(WIREGUARD_MTU), "up")


def _forward_port(lab: Lab, table: str, rule: str) -> None:
    chain = f"chain in {{ type nat hook prerouting priority dstnat;\niifname wan {rule}\n}}"
    lab.host("home-nat").run("nft", "-f", "-", text=f"table ip {table} {{\n{chain}\n}}\n")
