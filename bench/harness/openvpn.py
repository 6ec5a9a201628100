"""OpenVPN as a subject: the same place as wireguard-go's, UDP, AES-128-GCM as Postern's, no compression.

Two peers that know each other by the digest of their certificates, made for the run. Packets fill the link to its last
byte (mssfix), sockets have the largest buffers that the machine allows, and each write is tried without asking first
(fast-io). The kernel's own data channel (ovpn-dco) is not in Debian 12's kernels.
"""

from __future__ import annotations

from lab.testbed import Host, Lab, LabError, await_true
from lab.topology import CONNECTOR, HOME_NAT, NGINX

from .subject import Subject, forward_port, route_target, speak_for_tunnel

NAME = "openvpn"
PORT = 1194
_DEVICE = "vpn0"
_ENDS = {"laptop": ("10.8.0.1", "10.8.0.2"), "connector": ("10.8.0.2", "10.8.0.1")}
_BUFFER_BYTES = 4 << 20


def start(lab: Lab, mtu: int) -> Subject:
    forward_port(lab, NAME, f"udp dport {PORT} dnat to {CONNECTOR}")
    digests = {name: _make_certificate(lab.host(name)) for name in _ENDS}
    roles = {
        "connector": ["--tls-server", "--dh", "none", "--port", str(PORT)],
        "laptop": ["--tls-client", "--nobind", "--remote", HOME_NAT, str(PORT)],
    }
    for name, other in (("connector", "laptop"), ("laptop", "connector")):
        argv = [*_common(mtu), *roles[name], "--ifconfig", *_ENDS[name], "--peer-fingerprint", digests[other]]
        lab.host(name).spawn(f"{NAME}-{name}", "openvpn", *argv)
    for name in _ENDS:
        _await_up(lab, f"{NAME}-{name}")
    speak_for_tunnel(lab, NAME, "10.8.0.0/24")
    route_target(lab, _DEVICE, NAME)
    labels = {f"{NAME}@{host}": f"{NAME}-{host}" for host in ("laptop", "connector")}
    return Subject(NAME, "direct", NGINX, labels, lambda: route_target(lab, _DEVICE, NAME))


def _common(mtu: int) -> list[str]:
    """Options of both ends."""
    files = ["--cert", "/run/openvpn.crt", "--key", "/run/openvpn.key"]
    device = ["--dev", _DEVICE, "--dev-type", "tun", "--tun-mtu", str(mtu), "--mssfix", str(mtu), "mtu"]
    ciphers = ["--data-ciphers", "AES-128-GCM", "--cipher", "AES-128-GCM", "--allow-compression", "no"]
    buffers = ["--sndbuf", str(_BUFFER_BYTES), "--rcvbuf", str(_BUFFER_BYTES), "--txqueuelen", "1000", "--fast-io"]
    return ["--proto", "udp4", "--keepalive", "10", "60", *files, *device, *ciphers, *buffers]


def _make_certificate(host: Host) -> str:
    """A key and a certificate on this host, and the digest by which the other one knows it."""
    where = ["-keyout", "/run/openvpn.key", "-out", "/run/openvpn.crt"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    host.run("openssl", "req", "-x509", *key, *where, "-days", "2", "-subj", f"/CN={host.name}")
    said = host.output("openssl", "x509", "-in", "/run/openvpn.crt", "-noout", "-fingerprint", "-sha256")
    return said.partition("=")[2]


def _await_up(lab: Lab, process: str) -> None:
    def up() -> bool:
        if not lab.is_running(process):
            raise LabError(f"{process} ended while starting:\n{lab.log(process)[-2000:]}")
        return "Initialization Sequence Completed" in lab.log(process)

    await_true(f"{process} is connected", up, 20)
