"""UDP and ICMP echo through Postern, against real services: what an application sees is what it sees on the home LAN.

Each question is also asked on the connector's host, which is on that LAN, as a control.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from lab import nat, probes, topology
from lab.postern import Postern
from lab.testbed import Host, Lab, await_true

CHANGE_SECONDS = 5.0
ECHO_PORT = 7000
CLOSED_PORT = 9
UDP_PORTS = f"{CLOSED_PORT},53,5201,{ECHO_PORT}"
DEAD = "192.168.1.99"
ROUTER = "192.168.1.1"
SERVER_SECONDS = 5.0

_PYTHON = "/usr/bin/python3"

_ECHO = """
import socket, sys
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
server.bind(("::", int(sys.argv[1])))
while True:
    payload, peer = server.recvfrom(65536)
    server.sendto(payload, peer)
"""

# Sends one payload of each size over one socket and says for each what came: same, other, silent or the errno's name.
# `discover` is IP_MTU_DISCOVER: 0 never sets DF, 2 always does. A size is tried once more where nothing came or the kernel
# has learnt that the path takes less. IP_RECVERR: every ICMP error is told.
_ASK = """
import errno, json, socket, sys
host, port, family, discover, sizes = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), json.loads(sys.argv[5])
v6 = family == "6"
address = socket.getaddrinfo(host, port, socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)[0][4]
asker = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
asker.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, 23 if v6 else 10, discover)
asker.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, 25 if v6 else 11, 1)
asker.settimeout(float(sys.argv[6]))
asker.connect(address)
seen = {}
for size in sizes:
    payload = bytes(i * 7 % 256 for i in range(size))
    for attempt in range(2):
        try:
            asker.send(payload)
            seen[size] = "same" if asker.recv(65536) == payload else "other"
            break
        except TimeoutError:
            seen[size] = "silent"
        except OSError as error:
            seen[size] = errno.errorcode[error.errno]
            if error.errno != errno.EMSGSIZE:
                break
print(json.dumps(seen))
"""

_FLOOD = """
import socket, sys
sockets = []
for i in range(int(sys.argv[3])):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect((sys.argv[1], int(sys.argv[2])))
    one.send(b"x")
    if len(sockets) < 500:
        sockets.append(one)
"""


def ask(
    host: Host, target: str, sizes: list[int], port: int = ECHO_PORT, family: int = 4, discover: int = 0, wait: float = 3.0
) -> dict[int, str]:
    words = (target, str(port), str(family), str(discover), json.dumps(sizes), str(wait))
    answer = host.output(_PYTHON, "-c", _ASK, *words, seconds=wait * 2 * len(sizes) + 20)
    return {int(size): seen for size, seen in json.loads(answer).items()}


def allow_pings(postern: Postern, allowed: bool = True) -> None:
    span = "0 2147483647" if allowed else "1 0"
    postern.connector.run("sysctl", "-qw", f"net.ipv4.ping_group_range={span}")


@pytest.fixture(scope="module")
def services(lab: Lab) -> None:
    lab.host("nginx").spawn("udp-echo", _PYTHON, "-c", _ECHO, str(ECHO_PORT))
    lab.host("nginx").spawn("iperf-udp", "iperf3", "-s")
    answers = lambda: ask(lab.host("connector"), topology.NGINX, [1], wait=0.2)[1] == "same"  # noqa: E731
    await_true("the echo server answers on its own network", answers, SERVER_SECONDS)


@pytest.fixture(scope="module", autouse=True)
def resources(services: None, postern: Postern) -> None:
    """The home network by address and one machine of it by name; another machine with nothing but TCP."""
    allow_pings(postern)
    postern.add_resource("lan", "192.168.1.0/24", tcp="5201", udp=UDP_PORTS)
    postern.add_resource("lan6", topology.HOME_LAN6, tcp="none", udp=UDP_PORTS)
    postern.add_resource("named", topology.TARGET_NAME, tcp="none", udp=UDP_PORTS)
    postern.add_resource("sealed", topology.DB, tcp="5432", udp="none", ping=False)
    for name in ("lan", "lan6", "named", "sealed"):
        postern.grant(name)
    usable = lambda: ask(postern.laptop, topology.NGINX, [1], wait=0.5)[1] == "same"  # noqa: E731
    await_true("the laptop can use the new resources", usable, CHANGE_SECONDS)


# --- UDP -------------------------------------------------------------------------------------------------------------

SIZES = [1, 100, 1150, 1200, 1400, 1450, 1472, 1473, 4000, 9000]


@pytest.mark.parametrize("target", [topology.NGINX, topology.TARGET_NAME])
def test_payloads_of_every_size_come_back_whole(postern: Postern, target: str) -> None:
    assert ask(postern.laptop, target, SIZES) == {size: "same" for size in SIZES}


@pytest.mark.parametrize("target", [topology.NGINX6, topology.TARGET_NAME])
def test_payloads_of_every_size_come_back_whole_over_ipv6(postern: Postern, target: str) -> None:
    assert ask(postern.laptop, target, SIZES, family=6) == {size: "same" for size in SIZES}


@pytest.mark.parametrize("target", [topology.NGINX, topology.TARGET_NAME])
def test_an_empty_payload_opens_a_flow_like_any_other(postern: Postern, target: str) -> None:
    assert ask(postern.laptop, target, [0, 1]) == {0: "same", 1: "same"}


def test_the_largest_payload_of_all_comes_back(postern: Postern) -> None:
    assert ask(postern.laptop, topology.NGINX, [65_000]) == {65_000: "same"}


@pytest.mark.parametrize("family", [4, 6])
def test_with_df_an_application_is_told_what_fits(postern: Postern, family: int) -> None:
    """As with any path that takes less than the first link: EMSGSIZE, and the kernel knows the size from then on."""
    target = topology.NGINX if family == 4 else topology.NGINX6
    headers = 28 if family == 4 else 48

    def told() -> bool:
        return ask(postern.laptop, target, [1500 - headers], family=family, discover=2)[1500 - headers] == "EMSGSIZE"

    await_true("the size of the path has been found out", told, 20)
    route = postern.laptop.output("ip", "route", "get", target)
    found = re.search(r"mtu (\d+)", route)
    assert found, route
    mtu = int(found.group(1))
    assert 1280 <= mtu < 1500
    fits, does_not = mtu - headers, mtu - headers + 1
    assert ask(postern.laptop, target, [fits, does_not], family=family, discover=2) == {
        fits: "same",
        does_not: "EMSGSIZE",
    }
    assert ask(postern.laptop, target, [1400, 3000], family=family) == {1400: "same", 3000: "same"}


@pytest.mark.parametrize(("target", "family"), [(topology.NGINX, 4), (topology.TARGET_NAME, 4), (topology.NGINX6, 6)])
def test_a_closed_port_is_refused(lab: Lab, postern: Postern, target: str, family: int) -> None:
    assert ask(lab.host("connector"), target, [10], port=CLOSED_PORT, family=family) == {10: "ECONNREFUSED"}
    assert ask(postern.laptop, target, [10], port=CLOSED_PORT, family=family) == {10: "ECONNREFUSED"}


def test_a_dead_host_is_unreachable(lab: Lab, postern: Postern) -> None:
    assert ask(lab.host("connector"), DEAD, [10], wait=8) == {10: "EHOSTUNREACH"}
    assert ask(postern.laptop, DEAD, [10], wait=8) == {10: "EHOSTUNREACH"}


def test_what_is_not_allowed_is_prohibited(lab: Lab, postern: Postern) -> None:
    assert ask(postern.laptop, topology.NGINX, [10], port=54) == {10: "EHOSTUNREACH"}
    assert ask(postern.laptop, topology.DB, [10]) == {10: "EHOSTUNREACH"}
    assert ask(postern.laptop, topology.NGINX6, [10], port=54, family=6) == {10: "EACCES"}


def test_lists_and_ranges_of_ports_and_the_most_specific_resource_decide(lab: Lab, postern: Postern) -> None:
    ports = (7001, 7002, 7003, 7004, 7005)
    for port in ports:
        lab.host("nginx").spawn(f"udp-echo-{port}", _PYTHON, "-c", _ECHO, str(port))
    listens = lambda: all(ask(lab.host("connector"), topology.NGINX, [1], port=p, wait=0.2)[1] == "same" for p in ports)  # noqa: E731
    await_true("the echo servers answer on their own network", listens, SERVER_SECONDS)
    postern.add_resource("narrow", topology.NGINX, tcp="none", udp="7001-7003,7005", ping=False)
    postern.grant("narrow")
    try:
        seen = lambda port: ask(postern.laptop, topology.NGINX, [10], port=port, wait=1)[10]  # noqa: E731
        await_true("the narrow resource is known", lambda: seen(7001) == "same", CHANGE_SECONDS)
        allowed = {port: seen(port) for port in (*ports, ECHO_PORT)}
        prohibited = "EHOSTUNREACH"
        assert allowed == {**dict.fromkeys(ports, "same"), 7004: prohibited, ECHO_PORT: prohibited}
        assert _ping(postern.laptop, topology.NGINX)[0] != 0, "the wide resource allows it, the narrow one does not"
        # By its name the machine is another resource, which allows other ports.
        assert ask(postern.laptop, topology.TARGET_NAME, [10]) == {10: "same"}
        told = postern.laptop.run("postern", "explain", f"{topology.NGINX}:{ECHO_PORT}/udp", check=False).stdout
        assert "narrow" in told and f"does not allow UDP port {ECHO_PORT}, only: 7001-7003,7005" in told, told
    finally:
        postern.admin("resource", "delete", "narrow")
    again = lambda: ask(postern.laptop, topology.NGINX, [1], wait=0.5)[1] == "same"  # noqa: E731
    await_true("the wide resource decides again", again, CHANGE_SECONDS)


def _dig(host: Host, server: str, name: str, *options: str) -> str:
    return host.output("dig", "+short", "+tries=1", "+time=3", *options, f"@{server}", name)


@pytest.mark.parametrize("options", [(), ("+noedns",), ("+bufsize=4096",)])
def test_a_dns_server_behind_the_connector_answers(postern: Postern, options: tuple[str, ...]) -> None:
    assert _dig(postern.laptop, ROUTER, topology.TARGET_NAME, *options) == topology.NGINX


def test_iperf_gets_its_datagrams_through_both_ways(postern: Postern) -> None:
    for direction in ((), ("-R",)):
        words = ("-c", topology.NGINX, "-u", "-b", "20M", "-l", "1200", "-t", "2", "-J", *direction)
        result: dict[str, Any] = json.loads(postern.laptop.output("iperf3", *words, seconds=30))
        total = result["end"]["sum"]
        assert total["lost_percent"] < 5, (direction, total)
        assert total["bytes"] > 1_000_000, (direction, total)


def test_many_flows_at_once_leave_room_for_the_next(postern: Postern) -> None:
    postern.laptop.output(_PYTHON, "-c", _FLOOD, topology.NGINX, str(ECHO_PORT), "6000", seconds=60)
    usable = lambda: ask(postern.laptop, topology.NGINX, [100])[100] == "same"  # noqa: E731
    await_true("a new flow works after the flood", usable, 20)
    assert probes.connect(postern.laptop, "nginx.home.lan", 80) == "open"
    assert int(postern.status()["flows"]) <= 3200


# --- which way -------------------------------------------------------------------------------------------------------

PATH_SECONDS = 40.0
GAP_SECONDS = 3.0

# Numbered payloads, one every 10 ms, until its input ends; every third is longer than a frame. Says how many were sent
# and came back, the longest time without an answer, and the errors.
_TALK = """
import errno, json, select, socket, sys, time
talker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
talker.setsockopt(socket.IPPROTO_IP, 11, 1)
talker.connect((sys.argv[1], int(sys.argv[2])))
talker.setblocking(False)
sent, came, errors, longest, last, next_at = 0, set(), {}, 0.0, time.monotonic(), time.monotonic()
ended = False
while not ended:
    ready, _, _ = select.select([talker, sys.stdin], [], [], max(0, next_at - time.monotonic()))
    ended = sys.stdin in ready
    try:
        while True:
            number = int(talker.recv(65536)[:8])
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            came.add(number)
    except BlockingIOError:
        pass
    except OSError as error:
        name = errno.errorcode[error.errno]
        errors[name] = errors.get(name, 0) + 1
    if time.monotonic() >= next_at:
        next_at += 0.01
        try:
            talker.send(b"%08d" % sent + bytes(4000 if sent % 3 == 0 else 200))
            sent += 1
        except OSError as error:
            name = errno.errorcode[error.errno]
            errors[name] = errors.get(name, 0) + 1
longest = max(longest, time.monotonic() - last)
print(json.dumps({"sent": sent, "came": len(came), "longest": longest, "errors": errors}))
"""


@pytest.fixture
def ways(lab: Lab) -> Iterator[Host]:
    """IPv4 only; the laptop's router, that is put back afterwards."""
    router = lab.host("laptop-nat")
    nat.set_ipv6(lab, works=False)
    yield router
    nat.unblock_udp(router)
    nat.set_way_mtu(lab, 1500)
    nat.set_ipv6(lab, works=True)


def _await_way(postern: Postern, way: str) -> None:
    def goes() -> bool:
        assert ask(postern.laptop, topology.NGINX, [1], wait=GAP_SECONDS)[1] == "same"
        return postern.paths()[:1] == [way]

    await_true(f"the session goes {way}", goes, PATH_SECONDS, every=0.1)


@pytest.mark.parametrize("way", ["direct", "relay"])
def test_each_way_carries_all_sizes(postern: Postern, ways: Host, way: str) -> None:
    if way == "relay":
        nat.block_udp(ways, but=topology.SERVER)
    _await_way(postern, way)
    assert ask(postern.laptop, topology.NGINX, SIZES) == {size: "same" for size in SIZES}
    code, text = _ping(postern.laptop, topology.NGINX, "-s", "4000")
    assert code == 0 and "2 received" in text, text
    assert postern.paths()[:1] == [way]
    flows = json.loads(postern.client("flows", "--json").stdout)["flows"]
    seen = {flow["destination"]: flow for flow in flows if flow["protocol"] != "tcp" and flow["ended_ago_ms"] is None}
    assert seen[f"{topology.NGINX}:{ECHO_PORT}/udp"]["path"] == way, seen
    assert seen[f"{topology.NGINX}/icmp"]["bytes_down"] >= 8000, seen


def test_a_conversation_goes_on_while_its_way_changes(postern: Postern, ways: Host) -> None:
    _await_way(postern, "direct")
    talker = postern.laptop.popen(
        *(_PYTHON, "-c", _TALK, topology.NGINX, str(ECHO_PORT)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    nat.block_udp(ways, but=topology.SERVER)
    await_true("the session is relayed", lambda: postern.paths()[:1] == ["relay"], PATH_SECONDS, every=0.1)
    nat.unblock_udp(ways)
    await_true("the session is direct again", lambda: postern.paths()[:1] == ["direct"], PATH_SECONDS, every=0.1)
    output, _ = talker.communicate("", timeout=30)
    seen = json.loads(output)
    print(seen)
    assert seen["errors"] == {}
    assert seen["longest"] < GAP_SECONDS
    assert seen["sent"] - seen["came"] < GAP_SECONDS / 0.01


# --- ICMP ------------------------------------------------------------------------------------------------------------


def _ping(host: Host, target: str, *options: str) -> tuple[int, str]:
    result = host.run("ping", "-c", "2", "-i", "0.2", "-W", "3", *options, target, check=False, seconds=30)
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize("options", [(), ("-s", "1"), ("-s", "1400"), ("-s", "4000"), ("-s", "9000")])
@pytest.mark.parametrize("target", [topology.NGINX, topology.TARGET_NAME])
def test_ping_is_answered_by_the_target(postern: Postern, target: str, options: tuple[str, ...]) -> None:
    code, text = _ping(postern.laptop, target, "-4", *options)
    assert code == 0 and "2 received" in text, text


@pytest.mark.parametrize("options", [(), ("-s", "4000")])
@pytest.mark.parametrize("target", [topology.NGINX6, topology.TARGET_NAME])
def test_ping_over_ipv6_is_answered_by_the_target(postern: Postern, target: str, options: tuple[str, ...]) -> None:
    code, text = _ping(postern.laptop, target, "-6", *options)
    assert code == 0 and "2 received" in text, text


def test_a_dead_host_answers_no_ping(lab: Lab, postern: Postern) -> None:
    for host in (lab.host("connector"), postern.laptop):
        code, text = _ping(host, DEAD, "-W", "5")
        assert code != 0 and "0 received" in text, (host.name, text)
        assert "Destination Host Unreachable" in text, (host.name, text)


def test_a_ping_that_is_not_allowed_is_filtered(postern: Postern) -> None:
    code, text = _ping(postern.laptop, topology.DB)
    assert code != 0 and "Packet filtered" in text, text


def test_a_connector_that_may_not_ping_says_so(lab: Lab, postern: Postern) -> None:
    allow_pings(postern, allowed=False)
    try:
        code, text = _ping(postern.laptop, topology.SSH)
        assert code != 0 and "Packet filtered" in text, text
        assert "net.ipv4.ping_group_range" in lab.log("postern-connector")
    finally:
        allow_pings(postern)
    assert _ping(postern.laptop, topology.SSH)[0] == 0


# --- what is told ----------------------------------------------------------------------------------------------------


def test_flows_and_denials_are_in_the_flow_log(postern: Postern) -> None:
    targets = lambda: {entry["target"] for entry in postern.admin("flow", "list", "--count", "1000")["flows"]}  # noqa: E731
    await_true("the refused ping is in the flow log", lambda: f"{topology.SSH}/icmp" in targets(), 10)


def test_explain_knows_protocols(postern: Postern) -> None:
    def explain(what: str) -> str:
        return postern.laptop.run("postern", "explain", what, check=False).stdout

    assert "is reached" in explain(f"{topology.NGINX}:{ECHO_PORT}/udp")
    assert "does not allow UDP port 54" in explain(f"{topology.NGINX}:54/udp")
    assert "is reached" in explain(f"{topology.NGINX}/icmp")
    assert "does not allow ICMP echo requests" in explain(f"{topology.DB}/icmp")


def test_a_direct_way_that_takes_less_is_told_and_splits(lab: Lab, postern: Postern, ways: Host) -> None:
    """Last: nobody looks for more on a path whose size has been found out, so pings with DF would be told it too."""
    nat.block_udp(ways, but=topology.SERVER)
    _await_way(postern, "relay")
    nat.set_way_mtu(lab, 1330)
    nat.unblock_udp(ways)
    _await_way(postern, "direct")
    assert ask(postern.laptop, topology.NGINX, SIZES) == {size: "same" for size in SIZES}
    told = lambda: ask(postern.laptop, topology.NGINX, [1290], discover=2)[1290] == "EMSGSIZE"  # noqa: E731
    await_true("the size of the direct way has been found out", told, 20)
    assert ask(postern.laptop, topology.NGINX, [1100, 1290], discover=2) == {1100: "same", 1290: "EMSGSIZE"}
