"""Postern as a subject: directly through both NATs without any port forward, or through the server's relay.

Both are the same processes; for the relay the laptop's router lets no other UDP of Postern's out.
"""

from __future__ import annotations

from lab.postern import Postern
from lab.testbed import Lab, await_true
from lab.topology import SERVER, TARGET_NAME

from . import openvpn, wireguard
from .subject import ECHO_PORT, FLOW_PORTS, IPERF_PORT, Subject

NAME = "postern"


def start_direct(lab: Lab, mtu: int) -> Subject:
    return _start(lab, "direct")


def start_relay(lab: Lab, mtu: int) -> Subject:
    return _start(lab, "relay")


def _start(lab: Lab, path: str) -> Subject:
    postern = Postern(lab)
    if "posternd" not in lab.processes():
        postern.start_all()
        tcp = f"{IPERF_PORT},{ECHO_PORT},{FLOW_PORTS}"
        postern.add_resource("target", TARGET_NAME, tcp=tcp, udp=str(ECHO_PORT))
        postern.grant("target")
    address = await_true("the laptop knows the target's name", lambda: postern.virtual_address(TARGET_NAME), 20)
    labels = {"postern-connector": "postern-connector", "posternd": "posternd"}
    if path == "relay":
        labels["postern-server"] = "postern-server"
    return Subject(NAME, path, address, labels, lambda: take_path(postern, address, path))


def take_path(postern: Postern, address: str, path: str) -> None:
    """Closes or opens the direct way, and waits until the session goes as it shall."""
    if path in _paths(postern):
        return
    if path == "relay":
        close_direct_way(postern.lab)
    else:
        open_direct_way(postern.lab)
        # A client that has looked in vain looks again ever more rarely; a new session looks at once.
        postern.client("disconnect")
        postern.client("connect")
        postern.await_online()
    knock = ["timeout", "5", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{ECHO_PORT}"]

    def goes() -> bool:
        postern.laptop.run(*knock, check=False)  # Sessions begin, and look for a better way, when a flow needs them.
        return _paths(postern) == {path}

    await_true(f"the session goes {path}", goes, 30, every=0.2)


def _paths(postern: Postern) -> set[str]:
    return {session["path"] for session in postern.status()["sessions"] if session["state"] == "ready"}


def close_direct_way(lab: Lab) -> None:
    """No other UDP but that with the server and that of the other subjects leaves the laptop's network.

    What is let through has rules of its own: nft 1.0.6 makes one comparison of `udp sport != A udp dport != B`, which
    then drops what has either port and not both.
    """
    ports = f"{{ {wireguard.PORT}, {openvpn.PORT}, {ECHO_PORT} }}"
    allowed = [f"ip saddr {SERVER}", f"ip daddr {SERVER}", f"udp sport {ports}", f"udp dport {ports}"]
    rules = "\n".join([*(f"{match} accept" for match in allowed), "meta l4proto udp drop"])
    chain = f"chain forward {{ type filter hook forward priority -10;\n{rules}\n}}"
    lab.host("laptop-nat").run("nft", "-f", "-", text=f"table inet relay_only {{\n{chain}\n}}\n")


def open_direct_way(lab: Lab) -> None:
    lab.host("laptop-nat").run("nft", "-f", "-", text="table inet relay_only\ndelete table inet relay_only\n")
