"""The relay over TLS (PROTOCOL.md §3.6): UDP blocked at either side or both, blocked and freed while flows run, through a
real HTTP proxy without any other way out, and what hostile peers may try."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from lab import services
from lab.live import LiveShell
from lab.postern import CONNECTOR_USER, Postern
from lab.testbed import Host, await_true
from lab.topology import INTERNET, SERVER, SERVER6

SWITCH_SECONDS = 30.0
NOTICE_SECONDS = 15.0
"""Within this time flows go on over TLS when UDP is cut under them."""
BACK_SECONDS = 60.0
STEADY_SECONDS = 8.0
MEGABYTES = 64
PROXY_PORT = 3128

_NO_UDP = """
table inet noudp {
  chain out { type filter hook output priority -10; udp dport 53 accept; oifname "lo" accept; meta l4proto udp drop; }
  chain in { type filter hook input priority -10; udp sport 53 accept; iifname "lo" accept; meta l4proto udp drop; }
}
"""
_ONLY_PROXY = """
table inet onlyproxy {
  chain out {
    type filter hook output priority -10;
    oifname { "lo", "postern0" } accept
    udp dport 53 accept
    ip daddr { PROXY, INSIDE } accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    drop
  }
}
"""


def block_udp(host: Host) -> None:
    """Everything but DNS, both ways; the TUN's own packets are not the network's."""
    host.run("nft", "-f", "-", text=_NO_UDP.replace('"lo"', '{ "lo", "postern0" }'))


def free_udp(host: Host) -> None:
    host.run("nft", "delete", "table", "inet", "noudp", check=False)


def transport(postern: Postern) -> str:
    relay = postern.status().get("relay") or {}
    return str(relay.get("transport")) if relay.get("bound") else ""


def way(postern: Postern) -> tuple[str, str]:
    """Path and transport of the session."""
    sessions = postern.status().get("sessions") or [{}]
    return sessions[0].get("path", ""), sessions[0].get("transport", "")


def is_direct(shell: LiveShell, postern: Postern) -> bool:
    assert shell.echoes(f"still there at {time.monotonic():.2f}", 5)
    return way(postern) == ("direct", "udp")


def links(postern: Postern) -> dict[str, int]:
    counts: dict[str, int] = postern.admin("status")["relay"]["links"]
    return counts


def await_transport(postern: Postern, wanted: str, seconds: float = SWITCH_SECONDS) -> None:
    await_true(f"the client's relay is reached over {wanted}", lambda: transport(postern) == wanted, seconds, every=0.2)


def fetch(postern: Postern) -> str:
    asked = postern.laptop.run("curl", "-sS", "-m", "3", "http://nginx.home.lan/nonce", check=False)
    return asked.stdout.strip()


def await_flow(postern: Postern, seconds: float = SWITCH_SECONDS) -> None:
    await_true("a new flow works", lambda: fetch(postern) == postern.lab.nonce, seconds, every=0.1)


class Bulk:
    """A transfer through an ssh session, byte-exact or not at all: what goes up comes back as its digest."""

    def __init__(self, postern: Postern, megabytes: int = MEGABYTES) -> None:
        script = f"dd if=/dev/urandom of=/run/bulk bs=1M count={megabytes} 2>/dev/null; sha256sum < /run/bulk"
        self.expected = postern.laptop.output("sh", "-c", script, seconds=60).split()[0]
        self.command = services.ssh_command(postern.lab, "ssh.home.lan", "sha256sum")
        ssh = " ".join(f"'{word}'" for word in self.command)
        self.process = postern.laptop.popen(
            "sh", "-c", f"{ssh} < /run/bulk", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def is_exact(self, seconds: float = 120.0) -> bool:
        out, _ = self.process.communicate(timeout=seconds)
        return out.split()[:1] == [self.expected]

    def runs(self) -> bool:
        return self.process.poll() is None


@pytest.fixture
def free(postern: Postern) -> Iterator[Postern]:
    """Nothing is blocked before and after, and a flow works."""
    hosts = (postern.laptop, postern.connector)
    for host in hosts:
        free_udp(host)
    for name, start in (
        ("postern-server", postern.serve),
        ("postern-connector", postern.serve_connector),
        ("posternd", postern.start_client),
    ):
        if not postern.lab.is_running(name):
            start()
    await_flow(postern, 60)
    yield postern
    for host in hosts:
        free_udp(host)


def restart_client(postern: Postern) -> None:
    postern.kill_client()
    postern.start_client()
    postern.await_online()


def restart_connector(postern: Postern) -> None:
    postern.kill_connector()
    postern.serve_connector()


def test_without_udp_at_the_laptop_the_client_comes_online_over_tls_and_says_why(free: Postern) -> None:
    block_udp(free.laptop)
    restart_client(free)
    assert transport(free) == "tls"
    await_flow(free)
    said = free.client("status").stdout
    assert f"over TLS (UDP to {SERVER}:443 is not answered)" in said, said
    assert f"relay/tls {SERVER}:443" in said, said
    doctor = free.client("doctor", check=False).stdout
    assert "the relay is reached over TLS instead" in doctor, doctor
    assert links(free)["open"] == 1


def test_without_udp_at_the_connector_it_serves_over_tls_and_says_so(free: Postern) -> None:
    block_udp(free.connector)
    restart_connector(free)
    await_flow(free)
    assert transport(free) in ("udp", "tls")
    assert "The relay is reached over TLS" in free.lab.log("postern-connector")
    assert links(free)["open"] >= 1


def test_without_udp_at_both_sides_flows_work(free: Postern) -> None:
    for host in (free.laptop, free.connector):
        block_udp(host)
    restart_connector(free)
    restart_client(free)
    await_flow(free)
    assert Bulk(free, 32).is_exact()
    assert links(free)["open"] == 2


@pytest.mark.parametrize("side", ["laptop", "connector", "both"])
def test_sessions_survive_udp_that_is_blocked_and_freed_while_they_run(free: Postern, side: str) -> None:
    if transport(free) != "udp":
        await_transport(free, "udp", 120)
    await_true("the session is direct", lambda: bool(fetch(free)) and way(free)[0] == "direct", BACK_SECONDS, every=0.2)
    hosts = {"laptop": (free.laptop,), "connector": (free.connector,), "both": (free.laptop, free.connector)}[side]
    shell = LiveShell(free)
    try:
        assert shell.echoes("before")
        bulk = Bulk(free, 128)
        await_true("the transfer is under way", lambda: bulk.runs() and _bytes_sent(free) > 4_000_000, 20)
        for host in hosts:
            block_udp(host)
        assert shell.echoes("over tls", NOTICE_SECONDS)
        assert bulk.is_exact()
        if side != "connector":
            await_transport(free, "tls")
        # The session goes the way that is left, and checks of direct paths do not disturb it.
        wanted = ("relay", "udp" if side == "connector" else "tls")
        await_true("the session is relayed", lambda: way(free) == wanted, SWITCH_SECONDS, every=0.2)
        until = time.monotonic() + STEADY_SECONDS
        while time.monotonic() < until:
            assert shell.echoes(f"steady {until - time.monotonic():.2f}", 2)
            assert way(free) == wanted
        for host in hosts:
            free_udp(host)
        if side != "connector":
            await_transport(free, "udp", BACK_SECONDS)
        await_true("the session is direct again", lambda: is_direct(shell, free), BACK_SECONDS, every=0.2)
        assert shell.echoes("over udp again")
        assert Bulk(free, 16).is_exact()
    finally:
        shell.close()


def _bytes_sent(postern: Postern) -> int:
    return sum(int(session.get("bytes_sent", 0)) for session in postern.status().get("sessions", []))


def test_a_gibibyte_each_way_is_exact_while_the_transport_changes_under_it(free: Postern) -> None:
    restart_client(free)  # one whose UDP has failed again and again looks for it less often
    assert transport(free) == "udp"
    big = services.big_file()
    curl = "curl -sSf --limit-rate 25M"
    url = "http://nginx.home.lan"
    fetched = free.laptop.popen("sh", "-c", f"{curl} {url}/big | b2sum", stdout=subprocess.PIPE)
    put = free.laptop.popen("sh", "-c", f"{curl} -T {big.path} {url}/upload/both-ways")
    await_true("both are under way", lambda: _bytes_sent(free) > 20_000_000, 20)
    block_udp(free.laptop)
    await_true("they go over TLS", lambda: way(free) == ("relay", "tls"), NOTICE_SECONDS, every=0.1)
    before = _bytes_sent(free)
    await_true("they go on", lambda: _bytes_sent(free) > before + 20_000_000, NOTICE_SECONDS, every=0.1)
    free_udp(free.laptop)
    await_true("UDP is taken again", lambda: way(free)[1] == "udp", SWITCH_SECONDS, every=0.1)
    assert fetched.poll() is None and put.poll() is None, "both were still running"
    out, _ = fetched.communicate(timeout=180)
    assert out.split()[0] == big.checksum
    assert put.wait(timeout=180) == 0
    stored = free.lab.run_dir / "www" / "public" / "upload" / "both-ways"
    assert services.checksum_of(stored) == big.checksum
    stored.unlink()


def test_a_server_that_restarts_is_found_again_over_tls(free: Postern) -> None:
    block_udp(free.laptop)
    restart_client(free)
    shell = LiveShell(free)
    try:
        assert shell.echoes("before")
        free.kill_server()
        free.serve()
        assert shell.echoes("after", SWITCH_SECONDS)
        assert transport(free) == "tls"
    finally:
        shell.close()


# --- through a proxy -------------------------------------------------------------------------------------------------



class Proxy:
    """tinyproxy on the router of one side, which then lets nothing else out of that side."""

    def __init__(self, postern: Postern, side: str, credentials: str = "") -> None:
        self.postern, self.side, self.credentials = postern, side, credentials
        self.inside, router = {
            "laptop": ("192.168.77.1", "laptop-nat"),
            "connector": ("192.168.1.1", "home-nat"),
        }[side]
        self.name = f"tinyproxy-{side}"
        self.router = postern.lab.host(router)
        self.host = postern.lab.host(side)

    @property
    def url(self) -> str:
        who = f"{self.credentials}@" if self.credentials else ""
        return f"http://{who}{self.inside}:{PROXY_PORT}"

    def start(self) -> None:
        lines = [f"Port {PROXY_PORT}", "Timeout 600", "MaxClients 50", "ConnectPort 443"]
        if self.credentials:
            lines.append("BasicAuth " + self.credentials.replace(":", " "))
        path = f"/run/{self.name}.conf"
        self.router.run("tee", path, text="\n".join(lines) + "\n")
        self.router.spawn(self.name, "tinyproxy", "-d", "-c", path)
        await_true("the proxy listens", self._listens, 10)

    def _listens(self) -> bool:
        return self.router.run("ss", "-Hltn", "sport", "=", f":{PROXY_PORT}").stdout != ""

    def stop(self) -> None:
        self.postern.lab.stop(self.name)

    def close_the_house(self) -> None:
        """Nothing leaves the host but to the proxy and to its own network."""
        inside = {"laptop": "192.168.77.0/24", "connector": "192.168.1.0/24"}[self.side]
        self.host.run("nft", "-f", "-", text=_ONLY_PROXY.replace("PROXY", self.inside).replace("INSIDE", inside))

    def open_the_house(self) -> None:
        self.host.run("nft", "delete", "table", "inet", "onlyproxy", check=False)


def start_client_with(postern: Postern, env: dict[str, str]) -> None:
    postern.kill_client()
    words = ("posternd", "--state", "/var/lib/postern", "--socket", "/run/postern/posternd.sock")
    postern.laptop.spawn("posternd", *words, env=env)


def start_connector_with(postern: Postern, env: dict[str, str]) -> None:
    postern.kill_connector()
    tokens = json.loads((postern.lab.run_dir / "connector-tokens.json").read_text("utf-8"))
    environment = {f"POSTERN_{key.upper()}": value for key, value in tokens.items()} | env
    postern.connector.spawn("postern-connector", "postern-connector", env=environment, user=CONNECTOR_USER)


@pytest.mark.parametrize("credentials", ["", "worker:s3cretword"])
def test_everything_goes_through_a_proxy_where_nothing_else_goes_out(free: Postern, credentials: str) -> None:
    proxies = [Proxy(free, side, credentials) for side in ("laptop", "connector")]
    try:
        for proxy in proxies:
            proxy.start()
            proxy.close_the_house()
        start_connector_with(free, {"HTTPS_PROXY": proxies[1].url})
        start_client_with(free, {"https_proxy": proxies[0].url})
        await_true("the client is online", lambda: free.status_word() == "online", SWITCH_SECONDS)
        await_flow(free)
        assert transport(free) == "tls"
        assert Bulk(free, 16).is_exact()
        said = free.client("status", "--json").stdout + free.lab.log("posternd") + free.lab.log("postern-connector")
        assert "s3cretword" not in said and "d29ya2Vy" not in said
        if not credentials:
            proxies[0].stop()
            await_true("the loss is noticed", lambda: free.status_word() != "online", SWITCH_SECONDS)
            proxies[0].start()
            await_flow(free, 60)
    finally:
        for proxy in proxies:
            proxy.open_the_house()
            proxy.stop()
        restart_connector(free)
        restart_client(free)


def test_a_proxy_given_by_name_is_reached_past_a_resource_that_covers_it(free: Postern) -> None:
    proxy = Proxy(free, "laptop")
    # Not the router but a host of the internet: what leads there is routed into the tunnel when a resource has it.
    proxy.inside, proxy.router = INTERNET, free.lab.host("internet")
    free.laptop.run("sh", "-ec", f"cp /etc/hosts /run/hosts; echo '{INTERNET} proxy.home.lan' >> /etc/hosts")
    resources = {"internet": "203.0.113.0/24", "names": "*.home.lan"}
    try:
        proxy.start()
        proxy.close_the_house()
        for name, address in resources.items():
            free.add_resource(name, address)
            free.grant(name)
        start_client_with(free, {"https_proxy": f"http://proxy.home.lan:{PROXY_PORT}"})
        await_true("the client is online", lambda: free.status_word() == "online", SWITCH_SECONDS)
        await_flow(free)
        assert transport(free) == "tls"
        assert "postern0" in free.laptop.output("ip", "route", "get", "203.0.113.77"), "the resource is routed"
        assert "postern0" not in free.laptop.output("ip", "route", "get", INTERNET)
        assert "proxy" in free.client("explain", "proxy.home.lan:3128", check=False).stdout
        proxy.stop()
        await_true("the loss is noticed", lambda: free.status_word() != "online", SWITCH_SECONDS)
        proxy.start()
        await_flow(free, 60)
    finally:
        for name in resources:
            free.admin("resource", "delete", name)
        proxy.open_the_house()
        proxy.stop()
        free.laptop.run("sh", "-ec", "cat /run/hosts > /etc/hosts")
        restart_client(free)


def test_a_proxy_that_wants_a_password_is_named_with_what_to_do(free: Postern) -> None:
    proxy = Proxy(free, "laptop", "worker:s3cretword")
    try:
        proxy.start()
        proxy.close_the_house()
        start_client_with(free, {"HTTPS_PROXY": proxy.url.replace("worker:s3cretword@", "")})
        wanted = "wants a name and a password"
        await_true("it is said", lambda: wanted in free.client("status", check=False).stdout, SWITCH_SECONDS)
    finally:
        proxy.open_the_house()
        proxy.stop()
        restart_client(free)


# --- hostile ---------------------------------------------------------------------------------------------------------

_HOSTILE = r"""
import base64, os, socket, ssl, struct
def connect():
    context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
    raw = socket.create_connection(("203.0.113.10", 443), timeout=10)
    return context.wrap_socket(raw)
def link():
    s = connect()
    key = base64.b64encode(os.urandom(16)).decode()
    s.sendall(("GET /relay/v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: postern-relay-1\r\n"
               f"Sec-WebSocket-Key: {key}\r\n\r\n").encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = s.recv(4096)
        if not piece: break
        answer += piece
    return s, answer.split(b"\r\n")[0].decode()
def frame(payload, first=0x82, masked=True):
    n = len(payload)
    head = bytes([first])
    bit = 0x80 if masked else 0
    head += bytes([bit | n]) if n < 126 else bytes([bit | 126]) + struct.pack(">H", n) if n < 65536 else bytes([bit | 127]) + struct.pack(">Q", n)
    return head + (b"\0\0\0\0" if masked else b"") + payload
def ended(s, seconds=5):
    s.settimeout(seconds)
    try:
        while True:
            if not s.recv(65536): return True
    except (ConnectionError, ssl.SSLError, OSError) as error:
        return not isinstance(error, TimeoutError)
"""


def hostile(postern: Postern, body: str, seconds: float = 60.0) -> str:
    return postern.lab.host("internet").output("/usr/bin/python3", "-c", _HOSTILE + body, seconds=seconds)


def server_memory(postern: Postern) -> int:
    """Resident kilobytes of the server."""
    status = postern.server.output("sh", "-c", "cat /proc/$(pidof postern-server)/status")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def test_what_is_no_link_message_ends_the_link_and_nothing_else(free: Postern) -> None:
    body = r"""
bad = {
  "garbage": b"\xff" * 64,
  "unmasked": frame(b"\0\4aaaa", masked=False),
  "text": frame(b"\0\4aaaa", 0x81),
  "fragment": frame(b"\0\4aaaa", 0x02),
  "empty": frame(b""),
  "stride of zero": frame(b"\0\0aaaa"),
  "no datagram": frame(b"\0\4"),
  "tiny datagrams": frame(b"\0\1" + b"a" * 200),
  "oversized": b"\x82\xff" + struct.pack(">Q", 1 << 40) + b"\0\0\0\0",
  "oversized ping": b"\x89\xfe\x01\x00" + b"\0" * 300,
}
for name, bytes_ in bad.items():
    s, status = link()
    assert status.startswith("HTTP/1.1 101"), status
    s.sendall(bytes_)
    print(name, ended(s))
"""
    said = hostile(free, body)
    assert len(said.splitlines()) == 10 and "False" not in said, said
    await_flow(free)


def test_an_upgrade_that_asks_for_something_else_is_refused(free: Postern) -> None:
    body = r"""
for missing in ("Sec-WebSocket-Protocol: postern-relay-1", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: abc="):
    lines = ["GET /relay/v1 HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
             "Sec-WebSocket-Protocol: postern-relay-1", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: abc="]
    s = connect(); s.sendall("\r\n".join([l for l in lines if l != missing] + ["", ""]).encode())
    print(s.recv(4096).split(b"\r\n")[0].decode())
"""
    assert hostile(free, body).splitlines() == ["HTTP/1.1 400 Bad Request"] * 3


def test_links_that_nobody_binds_are_few_and_short(free: Postern) -> None:
    body = r"""
kept = []
refused = 0
for i in range(150):
    s, status = link()
    if status.startswith("HTTP/1.1 429"): refused += 1
    else: kept.append(s)
print(refused)
print(sum(ended(s, 15) for s in kept))
print(len(kept))
"""
    before = links(free)["never_bound"]
    refused, over, kept = (int(line) for line in hostile(free, body, 120).splitlines())
    assert refused >= 30 and over == kept, (refused, over, kept)
    assert links(free)["never_bound"] >= before + kept
    assert links(free)["unbound"] == 0
    await_flow(free)


def test_datagrams_that_claim_to_come_from_a_link_are_dropped(free: Postern) -> None:
    """A link speaks for its own address because nobody else can: 100::/64 is nobody's on the network."""
    block_udp(free.laptop)
    restart_client(free)
    await_flow(free)
    before = links(free)["forged"]
    internet = free.lab.host("internet")
    forge = f"""
import os, socket, struct
for number in range(1, 6):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.bind(("100::%x" % number, 1))
    s.sendto(struct.pack(">HHI", 1, 0, 0x2112A442) + os.urandom(12), ("{SERVER6}", 443))
"""
    try:
        for number in range(1, 6):
            internet.run("ip", "-6", "addr", "add", f"100::{number}/128", "dev", "lo")
        internet.run("/usr/bin/python3", "-c", forge)
        await_true("they are counted", lambda: links(free)["forged"] == before + 5, 5)
    finally:
        for number in range(1, 6):
            internet.run("ip", "-6", "addr", "del", f"100::{number}/128", "dev", "lo", check=False)
    assert transport(free) == "tls"
    await_flow(free)


def test_a_slow_reader_costs_bounded_memory(free: Postern) -> None:
    await_true("new links are admitted again", lambda: "101" in hostile(free, "print(link()[1])"), 90, every=2)
    memory = server_memory(free)
    # Pings are answered; whoever never reads the answers gets none after a while.
    body = r"""
s, status = link()
assert "101" in status
s.settimeout(3)
sent = 0
try:
    for i in range(60000):
        s.sendall(frame(b"p" * 120, 0x89)); sent += 1
except OSError:
    pass
print(sent)
"""
    assert int(hostile(free, body, 90)) > 1000
    assert server_memory(free) < memory + 20_000
    await_flow(free)
