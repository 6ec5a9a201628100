"""wireguard-go as a subject: a tunnel laptop ↔ connector by a port forward; the connector forwards to the target."""

from __future__ import annotations

from dataclasses import dataclass

from lab.testbed import Lab, LabError, await_true
from lab.topology import CONNECTOR, HOME_NAT, NGINX

from .subject import Subject, forward_port, route_target, speak_for_tunnel

NAME = "wireguard-go"
PORT = 51820
_OVERHEAD = 80
"""What wireguard-go itself keeps of a link's MTU: 60 bytes for IPv4, 80 for IPv6."""
_LAPTOP, _CONNECTOR = "10.9.0.1", "10.9.0.2"


def start(lab: Lab, mtu: int) -> Subject:
    forward_port(lab, "wireguard", f"udp dport {PORT} dnat to {CONNECTOR}")
    laptop, connector = _Keys.make(lab, "laptop"), _Keys.make(lab, "connector")
    _start_process(lab, "connector", f"{_CONNECTOR}/24", mtu - _OVERHEAD)
    _start_process(lab, "laptop", f"{_LAPTOP}/24", mtu - _OVERHEAD)
    listen = ["listen-port", str(PORT), "private-key", connector.file]
    lab.host("connector").run("wg", "set", "wg0", *listen, "peer", laptop.public, "allowed-ips", f"{_LAPTOP}/32")
    peer = ["peer", connector.public, "endpoint", f"{HOME_NAT}:{PORT}"]
    peer += ["allowed-ips", f"{_CONNECTOR}/32,{NGINX}/32"]
    lab.host("laptop").run("wg", "set", "wg0", "private-key", laptop.file, *peer)
    speak_for_tunnel(lab, "wireguard", "10.9.0.0/24")
    route_target(lab, "wg0", NAME)
    labels = {f"{NAME}@{host}": f"wireguard-{host}" for host in ("laptop", "connector")}
    return Subject(NAME, "direct", NGINX, labels, lambda: route_target(lab, "wg0", NAME))


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


def _start_process(lab: Lab, name: str, address: str, mtu: int) -> None:
    host = lab.host(name)
    process = f"wireguard-{name}"
    host.spawn(process, "wireguard-go", "--foreground", "wg0", env={"LOG_LEVEL": "error"})

    def ready() -> bool:
        if not lab.is_running(process):
            raise LabError(f"wireguard-go ended while starting:\n{lab.log(process)[-2000:]}")
        return host.run("wg", "show", "wg0", check=False).returncode == 0

    await_true(f"wireguard-go answers on {name}", ready, 10)
    host.run("ip", "address", "add", address, "dev", "wg0")
    host.run("ip", "link", "set", "wg0", "mtu", str(mtu), "up")
