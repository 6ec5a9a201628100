"""Small questions that tests ask from a lab host: can I connect, who do I look like, which name has which address."""

from __future__ import annotations

from .testbed import Host

_CONNECT = """
import errno, socket, sys
words = {errno.ECONNREFUSED: "refused", errno.EHOSTUNREACH: "unreachable", errno.ENETUNREACH: "unreachable",
         errno.ECONNRESET: "reset", errno.EACCES: "prohibited"}
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])).close()
    print("open")
except TimeoutError:
    print("silent")
except socket.gaierror:
    print("unknown")
except OSError as error:
    print(words.get(error.errno, str(error)))
"""

_SERVE = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    connection, peer = listener.accept()
    congestion = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\\0").decode()
    connection.sendall(f"{peer[0]} {congestion}".encode())
    connection.close()
"""

_ASK = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
mine = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\\0").decode()
print(connection.recv(100).decode(), mine)
"""

_PYTHON = "/usr/bin/python3"
SILENCE_SECONDS = 1.5
"""How long no answer counts as silence. Answers in the lab take less than a millisecond."""


def connect(host: Host, target: str, port: int, seconds: float = SILENCE_SECONDS) -> str:
    """Tries one TCP connection: open, refused, reset, unreachable, prohibited, silent, or unknown (no such name)."""
    return host.output(_PYTHON, "-c", _CONNECT, target, str(port), str(seconds), seconds=seconds + 10)


def serve_mirror(host: Host, name: str, address: str, port: int) -> None:
    """Starts a server that tells each client its address and congestion control (see ask_mirror)."""
    host.spawn(name, _PYTHON, "-c", _SERVE, address, str(port))


def ask_mirror(host: Host, address: str, port: int) -> tuple[str, str, str]:
    """(address that the server saw, congestion control there, congestion control here)."""
    seen, theirs, mine = host.output(_PYTHON, "-c", _ASK, address, str(port)).split()
    return seen, theirs, mine


def addresses(host: Host, name: str, version: int = 4) -> set[str]:
    """IPv4 (or IPv6) addresses of a name as any program on this host gets them; empty when there is none."""
    result = host.run("getent", f"ahostsv{version}", name, check=False)
    return {line.split()[0] for line in result.stdout.splitlines()}
