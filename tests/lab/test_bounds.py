"""Bounds with the real programs: at the bound new connections are refused and the old ones go on; what nobody reads
waits, and fills no memory.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab import probes, services, topology
from lab.postern import Postern
from lab.test_memory import MEBIBYTE, memory_of
from lab.testbed import Lab, await_true, read_line

FILES = 300
OWN_FILES = 128
"""Of a connector, beside its flows (connector_service.cpp)."""
WANTED = 250
READY_SECONDS = 20.0
READERS = 200
HALF_OPEN = 100_000
HALF_OPEN_SECONDS = 60.0
"""What nobody answers is refused after 12 s; a busy machine takes longer to get there."""
MEMORY_MAX = {"posternd": 256 * MEBIBYTE, "postern-connector": 640 * MEBIBYTE, "postern-server": 96 * MEBIBYTE}
"""The bounds of the pools (192 and 512 MiB) with what each program needs anyway."""

_OPEN_MANY = """
import socket, sys
name, port, wanted = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
opened, refused = [], {}
for _ in range(wanted):
    try:
        opened.append(socket.create_connection((name, port), timeout=20))
    except OSError as error:
        refused[type(error).__name__] = refused.get(type(error).__name__, 0) + 1
print(len(opened), *refused, flush=True)
for order in sys.stdin:
    if order == "use\\n":
        for connection in opened:
            connection.sendall(b"GET /nonce HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        answered = sum(connection.recv(65536).startswith(b"HTTP/1.1 200") for connection in opened)
        print(answered, flush=True)
    if order == "close\\n":
        for connection in opened:
            connection.close()
        print("closed", flush=True)
"""

_NEVER_READ = """
import socket, sys
connections = []
for _ in range(int(sys.argv[2])):
    connection = socket.create_connection((sys.argv[1], 80), timeout=20)
    connection.sendall(b"GET /big HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    connections.append(connection)
print("waiting", flush=True)
sys.stdin.read()
"""

_HALF_OPEN = """
import socket, struct, sys
name, first, wanted = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
target = socket.getaddrinfo(name, first, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect((target, first))
    source = probe.getsockname()[0]
ends = socket.inet_aton(source) + socket.inet_aton(target)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)

def sum16(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

for number in range(wanted):
    ports = struct.pack("!HH", 1024 + number % 60000, first + number // 60000)
    rest = struct.pack("!IIBBH", number + 1, 0, 5 << 4, 2, 65535)
    checksum = sum16(ends + struct.pack("!BBH", 0, 6, 20) + ports + rest + bytes(4))
    raw.sendto(ports + rest + struct.pack("!HH", checksum, 0), (target, 0))
print("sent", flush=True)
"""


@contextmanager
def _python(postern: Postern, program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    argv = ["/usr/bin/python3", "-c", program, *arguments]
    process = postern.laptop.popen(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _ask(process: subprocess.Popen[str], order: str) -> str:
    assert process.stdin is not None
    process.stdin.write(order + "\n")
    process.stdin.flush()
    return read_line(process, READY_SECONDS).strip()


@pytest.fixture
def narrow(lab: Lab, postern: Postern) -> Iterator[Postern]:
    """The connector may have few files open."""
    postern.kill_connector()
    tokens = json.loads((lab.run_dir / "connector-tokens.json").read_text("utf-8"))
    environment = {f"POSTERN_{key.upper()}": value for key, value in tokens.items()}
    limited = ["prlimit", f"--nofile={FILES}:{FILES}", "postern-connector"]
    postern.connector.spawn("postern-connector", *limited, env=environment)
    await_true("the connector is healthy", postern.connector_is_healthy, READY_SECONDS)
    yield postern
    postern.kill_connector()
    postern.serve_connector()


def test_at_the_bound_of_descriptors_new_flows_are_refused_and_old_ones_go_on(lab: Lab, narrow: Postern) -> None:
    with _python(narrow, _OPEN_MANY, "nginx.home.lan", "80", str(WANTED)) as process:
        opened, *errors = read_line(process, READY_SECONDS).split()
        assert FILES - OWN_FILES - 20 <= int(opened) <= FILES - OWN_FILES
        assert errors == ["ConnectionRefusedError"]
        assert _ask(process, "use") == opened
        reasons = lambda: str(narrow.admin("flow", "list")["flows"])  # noqa: E731
        await_true("the flow log has the reason", lambda: "'resources'" in reasons(), READY_SECONDS)
        assert _ask(process, "close") == "closed"
        works = lambda: probes.connect(narrow.laptop, "nginx.home.lan", 80) == "open"  # noqa: E731
        await_true("there is room again", works, READY_SECONDS)
    assert lab.is_running("postern-connector")


def test_readers_that_never_read_fill_no_memory_and_stop_nobody(lab: Lab, postern: Postern) -> None:
    with _python(postern, _NEVER_READ, "nginx.home.lan", str(READERS)) as process:
        assert read_line(process, READY_SECONDS) == "waiting\n"
        fetched = postern.laptop.output("sh", "-c", "curl -sSf http://nginx.home.lan/big | b2sum", seconds=120)
        assert fetched.split()[0] == services.big_file().checksum
        assert postern.laptop.output("curl", "-sS", "http://nginx.home.lan/nonce") == lab.nonce
        used = {name: memory_of(lab, name)["VmRSS"] for name in MEMORY_MAX}
        assert {name: size for name, size in used.items() if size > MEMORY_MAX[name]} == {}


def test_a_hundred_thousand_half_open_flows_stop_nobody_and_go_by_themselves(lab: Lab, postern: Postern) -> None:
    nginx = lab.host("nginx")
    chain = "chain input {\n type filter hook input priority 0\n tcp dport 9101-9102 drop\n }"
    nginx.run("nft", "-f", "-", text=f"table inet silent {{\n {chain}\n}}\n")
    postern.add_resource("silent", topology.TARGET_NAME)
    postern.grant("silent")
    try:
        await_true("the laptop knows it", lambda: _is_silent(postern), READY_SECONDS)
        with _python(postern, _OPEN_MANY, "nginx.home.lan", "80", "20") as old:
            assert read_line(old, READY_SECONDS).split() == ["20"]
            arguments = (topology.TARGET_NAME, "9101", str(HALF_OPEN))
            postern.laptop.run("/usr/bin/python3", "-c", _HALF_OPEN, *arguments, seconds=120)
            assert _ask(old, "use") == "20"
            used = {name: memory_of(lab, name)["VmRSS"] for name in MEMORY_MAX}
            assert {name: size for name, size in used.items() if size > MEMORY_MAX[name]} == {}
            works = lambda: probes.connect(postern.laptop, "nginx.home.lan", 80) == "open"  # noqa: E731
            await_true("a new connection works", works, READY_SECONDS)
            await_true("only the old ones are left", lambda: postern.status()["flows"] <= 20, HALF_OPEN_SECONDS)
    finally:
        postern.admin("resource", "delete", "silent")
        nginx.run("nft", "delete", "table", "inet", "silent")


def _is_silent(postern: Postern) -> bool:
    return any(resource["name"] == "silent" for resource in postern.status()["resources"])
