"""Postern for a user without rights: SOCKS5, HTTP and `postern nc`, with the real programs that people use."""

from __future__ import annotations

import hashlib
import signal
import subprocess
from collections.abc import Iterator

import pytest

from lab import services, topology
from lab.postern import Postern
from lab.proxy import HOME, PORT, USER, OwnProxy
from lab.testbed import Lab, await_true

CHANGE_SECONDS = 5.0
CLOSED = 8081
"""A port of nginx's host where nothing listens, in a resource."""
FILTERED = 8082
DEAD = "192.168.1.99"
PARALLEL = 200

_PARALLEL = """
import socket, sys, threading
host, port, count = sys.argv[1].encode(), int(sys.argv[2]), int(sys.argv[3])
right, gate = [], threading.Barrier(count)
def fetch():
    c = socket.create_connection(("127.0.0.1", int(sys.argv[4])), timeout=30)
    c.sendall(b"\\5\\1\\0" + b"\\5\\1\\0\\3" + bytes([len(host)]) + host + port.to_bytes(2, "big"))
    said = b""
    while len(said) < 12:
        said += c.recv(12 - len(said))
    assert said[:4] == b"\\5\\0\\5\\0", said
    gate.wait(60)
    c.sendall(b"GET /nonce HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n")
    answer = b""
    while data := c.recv(65536):
        answer += data
    right.append(answer.split(b"\\r\\n\\r\\n")[1].decode())
threads = [threading.Thread(target=fetch) for _ in range(count)]
[t.start() for t in threads]; [t.join() for t in threads]
print(len(right), set(right))
"""

_SOCKS_CODE = """
import socket, sys
host, port = sys.argv[1].encode(), int(sys.argv[2])
c = socket.create_connection(("127.0.0.1", int(sys.argv[3])), timeout=20)
c.sendall(b"\\5\\1\\0")
assert c.recv(2) == b"\\5\\0"
c.sendall(b"\\5\\1\\0\\3" + bytes([len(host)]) + host + port.to_bytes(2, "big"))
print(c.recv(10)[1])
"""

_ECHO_UPPER = """
import socket
listener = socket.create_server(("::", 8090), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    connection, peer = listener.accept()
    said = b""
    while data := connection.recv(65536):
        said += data
    connection.sendall(said.upper() + b" after your end\\n")
    connection.close()
"""

_GIVE_FILE = """
import socket, sys
listener = socket.create_server(("::", 8092), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    connection, peer = listener.accept()
    while connection.recv(65536):
        pass
    connection.sendfile(open(sys.argv[1], "rb"))
    connection.close()
"""

_RESET_AFTER_ACCEPT = """
import socket, struct
listener = socket.create_server(("::", 8091), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    connection, peer = listener.accept()
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
"""


@pytest.fixture(scope="module")
def proxy(lab: Lab, postern: Postern) -> Iterator[OwnProxy]:
    """The laptop has no daemon with a TUN any more, only a person with his own proxy."""
    lab.stop("posternd")
    postern.add_resource("ports", topology.TARGET_NAME, tcp=f"{CLOSED}-{FILTERED},8090-8092")
    postern.add_resource("dead", DEAD, tcp="80")
    for resource in ("ports", "dead"):
        postern.grant(resource)
    drop = f"table inet silent {{ chain input {{\ntype filter hook input priority 0\ntcp dport {FILTERED} drop\n}}\n}}\n"
    lab.host("nginx").run("nft", "-f", "-", text=drop)
    lab.host("nginx").spawn("echo-upper", "/usr/bin/python3", "-c", _ECHO_UPPER)
    lab.host("nginx").spawn("resetter", "/usr/bin/python3", "-c", _RESET_AFTER_ACCEPT)
    big = str(services.big_file().path)
    lab.host("nginx").spawn("file-giver", "/usr/bin/python3", "-c", _GIVE_FILE, big)
    own = OwnProxy(postern)
    own.prepare()
    own.start(url=postern.enrolment_url)
    known = lambda: len(own.status()["resources"]) == 5  # noqa: E731
    await_true("the proxy knows the resources", known, CHANGE_SECONDS)
    yield own


def _socks_code(proxy: OwnProxy, host: str, port: int) -> int:
    return int(proxy.run("/usr/bin/python3", "-c", _SOCKS_CODE, host, str(port), str(PORT)).stdout)


def _http_code(proxy: OwnProxy, target: str) -> str:
    words = ["-o", "/dev/null", "-w", "%{http_connect}", "-p", f"http://{target}"]
    return str(proxy.curl(*words, check=False, proxy=f"http://127.0.0.1:{PORT}").stdout)


# --- who and where -----------------------------------------------------------------------------------------------------


def test_the_proxy_needs_no_capability_and_changes_nothing_on_the_host(postern: Postern, proxy: OwnProxy) -> None:
    pids = [p["pid"] for name, p in postern.lab.processes().items() if name == proxy.name]
    assert pids
    running = postern.laptop.output("sh", "-c", "grep -l '^Uid:.4242' /proc/[0-9]*/status | xargs grep -h CapEff")
    assert set(running.split()) == {"CapEff:", "0000000000000000"}
    assert postern.laptop_network() == postern.network_before_client


def test_the_state_is_for_its_owner_only(proxy: OwnProxy) -> None:
    modes = proxy.run("stat", "-c", "%a %U", f"{HOME}/state/postern", f"{HOME}/state/postern/device.key").stdout
    assert modes.split("\n")[:2] == ["700 person", "600 person"]


def test_other_users_of_the_machine_are_kept_out(lab: Lab, proxy: OwnProxy) -> None:
    words = ["curl", "-sS", "--max-time", "10", "--proxy", f"socks5h://127.0.0.1:{PORT}", "http://nginx.home.lan/nonce"]
    stranger = proxy.laptop.run("setpriv", "--reuid=4343", "--regid=4343", "--clear-groups", *words, check=False)
    assert stranger.returncode != 0 and lab.nonce not in stranger.stdout
    assert proxy.laptop.output(*words) == lab.nonce, "root may"
    assert proxy.status()["proxy"]["refused"] >= 1


def test_other_machines_do_not_reach_the_port(proxy: OwnProxy) -> None:
    listening = proxy.laptop.output("ss", "-Hltn", f"sport = :{PORT}")
    assert listening.split()[3] == f"127.0.0.1:{PORT}"


# --- the programs that people use --------------------------------------------------------------------------------------


def test_curl_reaches_nginx_by_name_over_socks5(lab: Lab, proxy: OwnProxy) -> None:
    assert proxy.curl("http://nginx.home.lan/nonce").stdout == lab.nonce
    assert proxy.curl("http://web.internal/nonce").stdout == lab.nonce


def test_curl_reaches_nginx_over_the_http_proxy(lab: Lab, proxy: OwnProxy) -> None:
    http = f"http://127.0.0.1:{PORT}"
    assert proxy.curl("http://nginx.home.lan/nonce", proxy=http).stdout == lab.nonce, "with a URL"
    assert proxy.curl("-p", "http://nginx.home.lan/nonce", proxy=http).stdout == lab.nonce, "with CONNECT"
    assert proxy.curl("-k", "https://nginx.home.lan/nonce", proxy=http).stdout == lab.nonce, "with CONNECT for TLS"


def test_a_gibibyte_comes_through_socks5_with_the_right_checksum(proxy: OwnProxy) -> None:
    fetch = f"curl -sSf --proxy socks5h://127.0.0.1:{PORT} http://nginx.home.lan/big | b2sum"
    assert proxy.run("sh", "-c", fetch, seconds=120).stdout.split()[0] == services.big_file().checksum


def test_ssh_runs_a_command_through_postern_nc(lab: Lab, proxy: OwnProxy) -> None:
    folder = f"{HOME}/ssh"
    proxy.laptop.run("install", "-d", "-m", "700", "-o", str(USER[0]), folder)
    for name in ("client_key", "known_hosts"):
        source = str(lab.run_dir / "ssh" / name)
        proxy.laptop.run("install", "-m", "600", "-o", str(USER[0]), source, f"{folder}/{name}")
    command = services.ssh_command(lab, "ssh.home.lan", "cat /run/nonce; echo; hostname")
    command = [word.replace(str(lab.run_dir / "ssh"), folder) for word in command]
    command[1:1] = ["-o", "ProxyCommand=postern nc %h %p"]
    assert proxy.run(*command).stdout.split() == [lab.nonce, "ssh"]


def test_psql_works_through_socat_and_the_http_proxy(lab: Lab, proxy: OwnProxy) -> None:
    there = f"PROXY:127.0.0.1:db.home.lan:5432,proxyport={PORT}"
    lab.host("laptop").spawn("socat", *proxy.as_user("socat", "TCP-LISTEN:15432,bind=127.0.0.1,fork,reuseaddr", there))
    listens = lambda: proxy.laptop.output("ss", "-Hltn", "sport = :15432")  # noqa: E731
    await_true("socat listens", listens, CHANGE_SECONDS)
    command = services.psql_command(lab, "127.0.0.1", "-p", "15432", "-c", "select value from nonce")
    asked = proxy.laptop.output(*command, env=services.psql_environment(lab))
    assert asked == lab.nonce


def test_ncat_over_socks5_hears_what_comes_after_its_own_end(proxy: OwnProxy) -> None:
    words = ["ncat", "--proxy", f"127.0.0.1:{PORT}", "--proxy-type", "socks5", "--proxy-dns", "remote"]
    assert proxy.run(*words, topology.TARGET_NAME, "8090", text="hello").stdout == "HELLO after your end\n"


def test_two_hundred_connections_at_once_all_get_their_answer(lab: Lab, proxy: OwnProxy) -> None:
    arguments = ["nginx.home.lan", "80", str(PARALLEL), str(PORT)]
    done = proxy.run("/usr/bin/python3", "-c", _PARALLEL, *arguments, seconds=90).stdout
    assert done.split(" ", 1) == [str(PARALLEL), f"{{{lab.nonce!r}}}\n"]
    gone = lambda: proxy.status()["proxy"]["streams"] == 0 and proxy.status()["flows"] == 0  # noqa: E731
    await_true("no stream and no flow is left", gone, CHANGE_SECONDS)


# --- UDP over SOCKS5 ---------------------------------------------------------------------------------------------------

UDP_ECHO = 8093

_UDP_ECHO = """
import socket
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("::", 8093))
while True:
    payload, peer = server.recvfrom(65536)
    server.sendto(payload, peer)
"""

# A SOCKS5 user of UDP after RFC 1928 par. 7. Its orders are lines: "send HOST PORT SIZE FRAG", "other HOST PORT" (from
# another socket), "end" (of the connection). It answers each with one line.
_ASSOCIATE = """
import ipaddress, socket, sys
def header(host, port, frag=0):
    try:
        address = ipaddress.ip_address(host)
        target = bytes([1 if address.version == 4 else 4]) + address.packed
    except ValueError:
        target = bytes([3, len(host)]) + host.encode()
    return bytes([0, 0, frag]) + target + port.to_bytes(2, "big")
def exchange(over, host, port, size, frag=0):
    payload = bytes(i * 7 % 256 for i in range(size))
    over.sendto(header(host, port, frag) + payload, relay)
    try:
        got = over.recv(65536)
        return "same" if got == header(host, port) + payload else got[:60].hex()
    except TimeoutError:
        return "silent"
    except ConnectionRefusedError:
        return "gone"
talker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
talker.bind(("127.0.0.1", 0))
talker.settimeout(2)
control = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
control.sendall(b"\\5\\1\\0")
assert control.recv(2) == b"\\5\\0"
port = talker.getsockname()[1] if sys.argv[2] == "port" else 0
control.sendall(b"\\5\\3\\0\\1\\0\\0\\0\\0" + port.to_bytes(2, "big"))
answer = control.recv(10)
assert answer[:4] == b"\\5\\0\\0\\1", answer
relay = (socket.inet_ntoa(answer[4:8]), int.from_bytes(answer[8:], "big"))
print(relay[1], flush=True)
for line in sys.stdin:
    order = line.split()
    if order[0] == "send":
        print(exchange(talker, order[1], int(order[2]), int(order[3]), int(order[4])), flush=True)
    elif order[0] == "other":
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.settimeout(1)
        print(exchange(other, order[1], int(order[2]), 10), flush=True)
    elif order[0] == "end":
        control.close()
        print("ended", flush=True)
"""


class Associated:
    """A program with an association; `relay` is where it sends to."""

    def __init__(self, proxy: OwnProxy, port: str) -> None:
        words = proxy.as_user("/usr/bin/python3", "-c", _ASSOCIATE, str(PORT), port)
        self.process = proxy.laptop.popen(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.relay = self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return str(self.process.stdout.readline()).strip()

    def ask(self, order: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self._answer()


@pytest.fixture(scope="module")
def udp_echo(lab: Lab, proxy: OwnProxy) -> None:
    lab.host("nginx").spawn("udp-echo", "/usr/bin/python3", "-c", _UDP_ECHO)
    program = Associated(proxy, "port")
    works = lambda: program.ask(f"send {topology.TARGET_NAME} {UDP_ECHO} 1 0") == "same"  # noqa: E731
    await_true("the echo server answers through the proxy", works, CHANGE_SECONDS)
    assert program.ask("end") == "ended"


def _drops(proxy: OwnProxy, name: str) -> int:
    return int(proxy.status()["drops"].get(f"proxy_datagram_{name}", 0))


@pytest.mark.parametrize("port", ["port", "no port"])
def test_udp_goes_over_socks5_and_comes_back_with_its_header(proxy: OwnProxy, udp_echo: None, port: str) -> None:
    program = Associated(proxy, port)
    for size in (0, 1, 512, 1400, 9000, 60_000):
        assert program.ask(f"send {topology.TARGET_NAME} {UDP_ECHO} {size} 0") == "same", size
    assert program.ask("send nowhere.example.org 53 10 0") == "silent"
    assert program.ask(f"send {topology.TARGET_NAME} {UDP_ECHO} 10 0") == "same"
    assert proxy.status()["proxy"]["associations"] == 1
    program.ask("end")
    await_true("it has ended", lambda: proxy.status()["proxy"]["associations"] == 0, CHANGE_SECONDS)
    assert program.ask(f"send {topology.TARGET_NAME} {UDP_ECHO} 10 0") in ("silent", "gone")


def test_pieces_and_other_sockets_are_dropped_and_counted(proxy: OwnProxy, udp_echo: None) -> None:
    program = Associated(proxy, "no port")
    fragments, foreign = _drops(proxy, "fragment"), _drops(proxy, "foreign")
    assert program.ask(f"send {topology.TARGET_NAME} {UDP_ECHO} 10 1") == "silent"
    assert _drops(proxy, "fragment") == fragments + 1
    assert program.ask(f"other {topology.TARGET_NAME} {UDP_ECHO}") == "silent"
    assert _drops(proxy, "foreign") == foreign + 1
    assert program.ask(f"send {topology.TARGET_NAME} {UDP_ECHO} 10 0") == "same"
    program.ask("end")


def test_another_user_cannot_take_an_association_by_being_first(proxy: OwnProxy, udp_echo: None) -> None:
    program = Associated(proxy, "no port")
    foreign = _drops(proxy, "foreign")
    send = f"import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x' * 20, ('127.0.0.1', {program.relay}))"
    stranger = ["setpriv", "--reuid=4343", "--regid=4343", "--clear-groups", "/usr/bin/python3", "-c", send]
    proxy.laptop.run(*stranger)
    await_true("it was not heard", lambda: _drops(proxy, "foreign") == foreign + 1, CHANGE_SECONDS)
    assert program.ask(f"send {topology.TARGET_NAME} {UDP_ECHO} 10 0") == "same"
    program.ask("end")


# --- postern nc --------------------------------------------------------------------------------------------------------


def test_nc_passes_the_end_on_both_ways(proxy: OwnProxy) -> None:
    said = proxy.run("postern", "nc", topology.TARGET_NAME, "8090", text="a" * 300_000)
    assert (said.stdout, said.stderr) == ("A" * 300_000 + " after your end\n", "")


def test_nc_says_why_in_one_line_and_by_its_exit_status(proxy: OwnProxy) -> None:
    cases = [
        ("nowhere.example.org", "80", 16, "belongs to no resource"),
        ("nginx.home.lan", "81", 16, "does not allow this port"),
        (topology.TARGET_NAME, str(CLOSED), 1, "refused the connection"),
        (DEAD, "80", 1, "unreachable"),
        (topology.TARGET_NAME, "8091", 1, "broken off"),
        ("nginx.home.lan", "http", 2, "port"),
    ]
    for host, port, status, words in cases:
        said = proxy.run("postern", "nc", host, port, text="x", check=False, seconds=40)
        assert (said.returncode, said.stderr.count("\n")) == (status, 1), (host, port, said.stderr)
        assert words in said.stderr, said.stderr


def test_nc_carries_a_gibibyte_unchanged_after_its_own_end(proxy: OwnProxy) -> None:
    script = f"postern nc {topology.TARGET_NAME} 8092 < /dev/null | b2sum"
    fetched = proxy.run("sh", "-c", script, seconds=120).stdout
    assert fetched.split()[0] == services.big_file().checksum


# --- truth -------------------------------------------------------------------------------------------------------------


def test_refusals_are_told_as_they_are(proxy: OwnProxy) -> None:
    codes = {
        "not a resource": _socks_code(proxy, "nowhere.example.org", 80),
        "not an allowed port": _socks_code(proxy, "nginx.home.lan", 81),
        "a dead host": _socks_code(proxy, DEAD, 80),
        "a closed port": _socks_code(proxy, topology.TARGET_NAME, CLOSED),
        "a filtered port": _socks_code(proxy, topology.TARGET_NAME, FILTERED),
    }
    expected = {"not a resource": 2, "not an allowed port": 2, "a dead host": 4, "a closed port": 5}
    assert codes == expected | {"a filtered port": 6}
    assert _http_code(proxy, "nowhere.example.org") == "403"
    assert _http_code(proxy, f"{topology.TARGET_NAME}:{CLOSED}") == "502"
    assert _http_code(proxy, f"{topology.TARGET_NAME}:{FILTERED}") == "504"


def test_a_reset_of_the_target_is_a_reset_here(proxy: OwnProxy) -> None:
    reset = proxy.curl(f"http://{topology.TARGET_NAME}:8091/", check=False)
    assert (reset.returncode, "reset by peer" in reset.stderr) == (56, True), reset.stderr


def test_access_that_is_taken_away_ends_what_runs(lab: Lab, postern: Postern, proxy: OwnProxy) -> None:
    words = ["curl", "-sS", "-o", "/dev/null", "--proxy", f"socks5h://127.0.0.1:{PORT}", "http://nginx.home.lan/slow"]
    running = proxy.laptop.popen(*proxy.as_user(*words))
    await_true("bytes flow", lambda: proxy.status()["flows"] == 1, CHANGE_SECONDS)
    postern.revoke("web")
    assert running.wait(timeout=CHANGE_SECONDS) != 0
    assert _socks_code(proxy, "nginx.home.lan", 80) == 2
    postern.grant("web")
    open_again = lambda: _socks_code(proxy, "nginx.home.lan", 80) == 0  # noqa: E731
    await_true("access is back", open_again, CHANGE_SECONDS)


# --- passwords and restarts ----------------------------------------------------------------------------------------------


def test_a_password_is_asked_for_where_there_is_one(lab: Lab, proxy: OwnProxy) -> None:
    secret = hashlib.sha256(lab.nonce.encode()).hexdigest()
    file = f"{HOME}/password"
    proxy.run("sh", "-c", f"umask 077; cat > {file}", text=f"ann:{secret}\n")
    lab.stop(proxy.name)
    proxy.start("--password-file", file)
    url = "http://nginx.home.lan/nonce"
    for kind in ("socks5h", "http"):
        assert proxy.curl(url, check=False, proxy=f"{kind}://127.0.0.1:{PORT}").stdout != lab.nonce
        assert proxy.curl(url, check=False, proxy=f"{kind}://ann:wrong@127.0.0.1:{PORT}").stdout != lab.nonce
        assert proxy.curl(url, proxy=f"{kind}://ann:{secret}@127.0.0.1:{PORT}").stdout == lab.nonce
    lab.stop(proxy.name)
    proxy.start()


def test_an_open_port_without_a_password_is_refused(proxy: OwnProxy) -> None:
    words = ["postern", "proxy", "--listen", "0.0.0.0:1081", "--state", f"{HOME}/other", "--socket", f"{HOME}/other.sock"]
    refused = proxy.run(*words, check=False)
    assert refused.returncode == 2 and "--proxy-password-file" in refused.stderr


def test_a_proxy_that_was_killed_starts_again_signed_in(lab: Lab, proxy: OwnProxy) -> None:
    lab.stop(proxy.name, signal.SIGKILL)
    gone = lambda: not proxy.laptop.output("ss", "-Hltn", f"sport = :{PORT}")  # noqa: E731
    await_true("the daemon has ended with its parent", gone, CHANGE_SECONDS)
    proxy.start()
    assert proxy.curl("http://nginx.home.lan/nonce").stdout == lab.nonce
