"""The main job: real services behind two NATs, reached by name, alias and address, and nothing else reached.

Each denial has a control: the same target is open where it may be reached from, so it is Postern that said no.
"""

from __future__ import annotations

import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab import nat, probes, services, topology
from lab.postern import Postern
from lab.testbed import Host, Lab, await_true, read_line

CIDR = "192.168.1.16/28"
AT_ONCE_SECONDS = 1.0
REVOCATION_SECONDS = 1.0
GIBIBYTE_SECONDS = 120.0
CHANGE_SECONDS = 5.0
"""A bound for a change at the server to be seen at the laptop; it is awaited, not slept."""
DENIED = ("refused", "prohibited", "unreachable")

_READ_UNTIL_ERROR = """
import socket, sys, time
connection = socket.create_connection((sys.argv[1], 80), timeout=30)
connection.sendall(b"GET /slow HTTP/1.0\\r\\nHost: " + sys.argv[1].encode() + b"\\r\\n\\r\\n")
total = len(connection.recv(65536))
print("flowing", flush=True)
end = "end of data"
try:
    while data := connection.recv(65536):
        total += len(data)
except OSError as error:
    end = type(error).__name__
print(time.monotonic(), total, end)
"""


@pytest.fixture(scope="module", autouse=True)
def cidr_resource(postern: Postern) -> None:
    """Part of the home LAN by address, on a port that the resource by name does not have."""
    postern.add_resource("lan", CIDR, tcp="8080")
    postern.grant("lan")
    probe = lambda: probes.connect(postern.laptop, topology.NGINX, 8080) == "open"  # noqa: E731
    await_true("the laptop can use the new resource", probe, CHANGE_SECONDS)


def _timed_connect(host: Host, target: str, port: int) -> tuple[str, float]:
    started = time.monotonic()
    return probes.connect(host, target, port, seconds=10), time.monotonic() - started


def test_the_status_says_that_the_client_is_connected(postern: Postern) -> None:
    assert postern.status_word() == "online"
    assert postern.client("status").stdout.startswith("Connected to home")
    listed = postern.client("resources").stdout
    assert all(name in listed for name in ("web", "shell", "database"))


def test_curl_reaches_nginx_by_name(lab: Lab, postern: Postern) -> None:
    assert postern.laptop.output("curl", "-sS", "http://nginx.home.lan/nonce") == lab.nonce
    trusted = ["--cacert", str(lab.run_dir / "tls.crt")]
    assert postern.laptop.output("curl", "-sS", *trusted, "https://nginx.home.lan/nonce") == lab.nonce


def test_curl_reaches_nginx_by_alias(lab: Lab, postern: Postern) -> None:
    assert postern.laptop.output("curl", "-sS", "http://web.internal/nonce") == lab.nonce


def test_curl_reaches_nginx_by_its_address_inside_a_cidr_resource(lab: Lab, postern: Postern) -> None:
    assert postern.laptop.output("curl", "-sS", f"http://{topology.NGINX}:8080/nonce") == lab.nonce


def test_ssh_runs_a_command_through_postern(lab: Lab, postern: Postern) -> None:
    command = services.ssh_command(lab, "ssh.home.lan", "cat /run/nonce; echo; hostname")
    assert postern.laptop.output(*command).split() == [lab.nonce, "ssh"]


def test_psql_commits_a_thousand_transactions_through_postern(lab: Lab, postern: Postern) -> None:
    script = "update counter set value = 0;\n" + "begin; update counter set value = value + 1; commit;\n" * 1000
    script += "select value from counter;\n"
    command = services.psql_command(lab, "db.home.lan", "-f", "-")
    done = postern.laptop.output(*command, text=script, env=services.psql_environment(lab), seconds=60)
    assert done == "1000"


def test_a_gibibyte_comes_down_with_the_right_checksum(postern: Postern) -> None:
    script = "curl -sSf http://nginx.home.lan/big | b2sum"
    fetched = postern.laptop.output("sh", "-c", script, seconds=GIBIBYTE_SECONDS)
    assert fetched.split()[0] == services.big_file().checksum


def test_a_gibibyte_goes_up_with_the_right_checksum(lab: Lab, postern: Postern) -> None:
    big = services.big_file()
    url = "http://nginx.home.lan/upload/through-postern"
    postern.laptop.run("curl", "-sSf", "-T", str(big.path), url, seconds=GIBIBYTE_SECONDS)
    uploaded = lab.run_dir / "www/public/upload/through-postern"
    assert services.checksum_of(uploaded) == big.checksum
    uploaded.unlink()


def test_a_public_name_is_still_answered_by_the_laptops_own_resolver(postern: Postern) -> None:
    assert probes.addresses(postern.laptop, "www.example.org") == {topology.INTERNET}


def test_a_port_that_the_resource_does_not_have_is_refused_at_once(postern: Postern) -> None:
    assert probes.connect(postern.connector, "nginx.home.lan", 8080) == "open"
    answer, seconds = _timed_connect(postern.laptop, "nginx.home.lan", 8080)
    assert answer in DENIED and seconds < AT_ONCE_SECONDS


def test_a_resource_is_out_of_reach_until_it_is_granted_and_again_when_it_is_revoked(postern: Postern) -> None:
    postern.add_resource("private", topology.TARGET_NAME, tcp="8080")
    assert probes.connect(postern.connector, topology.TARGET_NAME, 8080) == "open"
    assert probes.connect(postern.laptop, topology.TARGET_NAME, 8080) == "unknown"
    opened = lambda: probes.connect(postern.laptop, topology.TARGET_NAME, 8080) == "open"  # noqa: E731
    postern.grant("private")
    await_true("the granted resource is open", opened, CHANGE_SECONDS)
    postern.revoke("private")
    await_true("the revoked resource is closed", lambda: not opened(), REVOCATION_SECONDS)


def test_what_no_resource_names_is_out_of_reach(postern: Postern) -> None:
    assert probes.connect(postern.connector, "192.168.1.1", 53) == "open"
    assert probes.connect(postern.laptop, "192.168.1.1", 53) in ("silent", *DENIED)
    assert probes.connect(postern.laptop, "unknown.home.lan", 80) == "unknown"


def test_an_address_of_a_cidr_resource_on_another_port_is_refused_at_once(postern: Postern) -> None:
    assert probes.connect(postern.connector, topology.SSH, 22) == "open"
    answer, seconds = _timed_connect(postern.laptop, topology.SSH, 22)
    assert answer in DENIED and seconds < AT_ONCE_SECONDS


def test_a_stopped_target_refuses_at_once_as_it_would_on_the_lan(lab: Lab, postern: Postern) -> None:
    assert probes.connect(postern.laptop, "nginx.home.lan", 80, seconds=10) == "open"
    lab.stop("nginx", signal.SIGQUIT)
    try:
        answer, seconds = _timed_connect(postern.laptop, "nginx.home.lan", 80)
        assert answer == "refused" and seconds < AT_ONCE_SECONDS
    finally:
        services.serve_nginx(lab)
    assert probes.connect(postern.laptop, "nginx.home.lan", 80, seconds=10) == "open"


def test_a_transfer_is_cut_within_a_second_when_the_access_is_removed(lab: Lab, postern: Postern) -> None:
    postern.add_resource("stream", topology.TARGET_NAME, tcp="80")
    postern.grant("stream")
    name = topology.TARGET_NAME
    await_true("the name is known", lambda: postern.virtual_address(name), CHANGE_SECONDS)
    reader = postern.laptop.popen("/usr/bin/python3", "-c", _READ_UNTIL_ERROR, name, stdout=subprocess.PIPE)
    try:
        assert read_line(reader, 20) == "flowing\n"
        postern.revoke("stream")
        revoked = time.monotonic()
        ended, total, how = reader.communicate(timeout=20)[0].split(maxsplit=2)
    finally:
        reader.kill()
    assert int(total) < services.BIG_BYTES
    assert how.strip() == "ConnectionResetError"
    assert float(ended) - revoked < REVOCATION_SECONDS
    # The control: other accesses are as before.
    assert postern.laptop.output("curl", "-sS", "http://nginx.home.lan/nonce") == lab.nonce


def test_the_server_sees_no_plaintext(lab: Lab, postern: Postern) -> None:
    with nat.relayed(lab):
        _check_that_the_server_sees_nothing(lab, postern)


def _check_that_the_server_sees_nothing(lab: Lab, postern: Postern) -> None:
    marker = secrets.token_hex(32)
    (lab.run_dir / "www/public/marker").write_text(marker * 100, encoding="ascii")
    with _capture(lab, "server", "eth0") as at_server, _capture(lab, "home-nat", "lan") as at_home:
        fetched = postern.laptop.output("curl", "-sS", f"http://nginx.home.lan/marker?{marker}")
        assert fetched == marker * 100
        # The control: the home side has it in the clear, in the request and in the answer.
        await_true("the home side saw the marker", lambda: marker.encode() in at_home(), 10)
        sent = len(fetched)
        await_true("the server's capture has the packets", lambda: len(at_server()) > sent, 10)
    assert marker.encode() not in at_server()
    assert b"nginx.home.lan" not in at_server()


@contextmanager
def _capture(lab: Lab, host: str, interface: str) -> Iterator:
    """Captures whole packets on an interface; gives a function that returns what was captured so far."""
    name = f"capture-{host}"
    path = lab.run_dir / f"{name}.pcap"
    argv = ["tcpdump", "-i", interface, "-s", "0", "-U", "--immediate-mode", "-Z", "root", "-w", str(path)]
    lab.host(host).spawn(name, *argv)
    await_true("tcpdump listens", lambda: "listening on" in lab.log(name), 10)
    try:
        yield lambda: path.read_bytes()
    finally:
        lab.stop(name, signal.SIGINT)
