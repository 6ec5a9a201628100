"""Bad input to the real programs: one line on stderr that says what, why and what to do, and the documented exit code.

The codes are those of libs/config/exit_code.hpp. After all of it the accesses still work.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from typing import Any

import pytest

from lab import topology
from lab.paths import REPO
from lab.postern import (
    ADMIN_SOCKET,
    CLIENT_SOCKET,
    CLIENT_STATE,
    CONNECTOR_NAME,
    REMOTE_NETWORK,
    SERVER_STATE,
    Postern,
)
from lab.testbed import Lab, LabError, await_true

EXIT_CODES = {
    word: int(number)
    for word, number in re.findall(r"^  (\w+) = (\d+),$", (REPO / "libs/config/exit_code.hpp").read_text("utf-8"), re.M)
}
GIVE_UP_SECONDS = 25.0
WRONG_PIN = base64.urlsafe_b64encode(bytes(32)).decode().rstrip("=")
GARBAGE_PACKETS = 2000

_SPRAY = """
import random, socket, sys
random.seed(1)
target = (sys.argv[1], 443)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(int(sys.argv[2])):
    # Every kind of first byte (STUN, QUIC short and long, the rest), every length from nothing to a full packet.
    udp.sendto(bytes([random.randrange(256)]) + random.randbytes(random.randrange(1400)), target)
for payload in (b"", b"\\x16\\x03\\x01", random.randbytes(5000), b"GET / HTTP/1.1\\r\\n\\r\\n"):
    with socket.create_connection(target, timeout=5) as tcp:
        tcp.sendall(payload)
print("sprayed")
"""


def expect(result: subprocess.CompletedProcess[str], *codes: str) -> str:
    """Checks the exit code and that stderr is one line; returns the line."""
    lines = result.stderr.strip().splitlines()
    assert result.returncode in [EXIT_CODES[code] for code in codes], (result.returncode, result.stdout, result.stderr)
    assert len(lines) == 1, result.stderr
    return lines[0]


def _admin(postern: Postern, *words: str) -> subprocess.CompletedProcess[str]:
    return postern.server.run("postern-server", "admin", "--socket", ADMIN_SOCKET, *words, check=False)


# --- the connector ---------------------------------------------------------------------------------------------------


def _connector(postern: Postern, tokens: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Runs a connector on a host of its own choice until it gives up."""
    environment = {f"POSTERN_{key.upper()}": str(value) for key, value in tokens.items()}
    return postern.lab.host("db").run("postern-connector", env=environment, check=False, seconds=GIVE_UP_SECONDS)


def _tokens(postern: Postern, name: str) -> dict[str, Any]:
    answer = postern.admin("connector", "tokens", name)
    return {key: answer[key] for key in ("network", "url", "access_token", "refresh_token")}


@pytest.fixture(scope="module")
def spare_tokens(postern: Postern) -> dict[str, Any]:
    """Good tokens of a connector that does not run."""
    postern.admin("connector", "add", "spare", "--remote-network", REMOTE_NETWORK)
    return _tokens(postern, "spare")


@pytest.mark.parametrize("broken", ["", "x", "a.b.c", "é" * 40], ids=["empty", "short", "not base64", "not ascii"])
def test_a_connector_with_a_malformed_access_token_says_so(postern: Postern, spare_tokens: Any, broken: str) -> None:
    expect(_connector(postern, {**spare_tokens, "access_token": broken}), "BadToken", "Usage")


def test_a_connector_whose_access_token_was_changed_is_not_let_in(postern: Postern, spare_tokens: Any) -> None:
    head, body, signature = spare_tokens["access_token"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims["aid"] = f"{int(claims['aid']) + 1}" if isinstance(claims["aid"], str) else claims["aid"] + 1
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    tokens = {**spare_tokens, "access_token": f"{head}.{changed}.{signature}"}
    expect(_connector(postern, tokens), "BadToken", "TokensRevoked")


def test_a_connector_for_another_network_says_so(postern: Postern, spare_tokens: Any) -> None:
    line = expect(_connector(postern, {**spare_tokens, "network": "office"}), "WrongNetwork")
    assert "office" in line


def test_a_connector_with_replaced_tokens_ends_and_does_not_retry(postern: Postern) -> None:
    postern.admin("connector", "add", "replaced", "--remote-network", REMOTE_NETWORK)
    old = _tokens(postern, "replaced")
    _tokens(postern, "replaced")
    expect(_connector(postern, old), "TokensRevoked")


def test_a_running_connector_ends_when_its_tokens_are_replaced(lab: Lab, postern: Postern) -> None:
    postern.admin("connector", "add", "cut off", "--remote-network", REMOTE_NETWORK)
    environment = {f"POSTERN_{key.upper()}": value for key, value in _tokens(postern, "cut off").items()}
    lab.host("db").spawn("cut-off", "postern-connector", env=environment)
    await_true("it is connected", lambda: "Connected to Postern network" in lab.log("cut-off"), 20)
    _tokens(postern, "cut off")
    await_true("it has ended", lambda: not lab.is_running("cut-off"), 10)
    assert lab.processes()["cut-off"]["exit"] == EXIT_CODES["TokensRevoked"]


def test_a_connector_with_an_expired_access_token_starts_again(lab: Lab, postern: Postern) -> None:
    """An access token lives an hour; the server is restarted two hours later, and so is the connector."""
    postern.kill_connector()
    postern.kill_server()
    fake = {"LD_PRELOAD": "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "FAKETIME": "+2h"}
    postern.serve(env={**fake, "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
    try:
        postern.serve_connector()
    finally:
        postern.kill_connector()
        postern.kill_server()
        postern.serve()
        postern.serve_connector()


# --- the client ------------------------------------------------------------------------------------------------------


def _daemon(postern: Postern, *prefix: str, name: str = "second") -> subprocess.CompletedProcess[str]:
    # A device of its own: attaching to one that is in use fails for that reason first, with or without the right.
    where = ["--state", f"/var/lib/{name}", "--socket", f"/run/{name}.sock", "--tun", f"{name}0"]
    return postern.laptop.run(*prefix, "posternd", *where, check=False, seconds=GIVE_UP_SECONDS)


def test_a_second_daemon_says_that_one_is_running(postern: Postern) -> None:
    again = ["posternd", "--state", CLIENT_STATE, "--socket", CLIENT_SOCKET]
    expect(postern.laptop.run(*again, check=False, seconds=GIVE_UP_SECONDS), "AlreadyRunning")
    assert postern.status_word() == "online"


def test_a_daemon_without_the_right_to_make_a_tun_says_so(postern: Postern) -> None:
    without = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    line = expect(_daemon(postern, *without), "NotPermitted")
    assert "CAP_NET_ADMIN" in line


def test_a_daemon_without_a_tun_device_says_so(postern: Postern) -> None:
    hidden = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh"]
    line = expect(_daemon(postern, *hidden), "NotPermitted")
    assert "/dev/net/tun" in line


def test_the_cli_without_a_daemon_says_so(postern: Postern) -> None:
    asked = postern.laptop.run("postern", "--socket", "/run/nobody.sock", "status", check=False)
    expect(asked, "NotRunning")


def test_login_refuses_a_server_that_does_not_match_the_pin(postern: Postern) -> None:
    url = f"https://{topology.SERVER}/#ca={WRONG_PIN}"
    expect(postern.client("login", url, check=False, seconds=GIVE_UP_SECONDS), "ServerNotTrusted")


def test_login_at_a_host_that_is_not_there_says_so(postern: Postern) -> None:
    url = f"https://{topology.INTERNET}/#ca={WRONG_PIN}"
    expect(postern.client("login", url, check=False, seconds=GIVE_UP_SECONDS + 20), "Unreachable")


# --- the server ------------------------------------------------------------------------------------------------------


def _init(postern: Postern, state: str) -> subprocess.CompletedProcess[str]:
    who = ["--network", "other", "--address", topology.SERVER, "--admin-email", "a@example.org"]
    password = postern.password_file("other", "a long enough password")
    argv = ["postern-server", "init", "--state", state, *who, "--password-file", password]
    return postern.server.run(*argv, check=False)


def _serve(postern: Postern, state: str) -> subprocess.CompletedProcess[str]:
    where = ["--state", state, "--listen", "0.0.0.0:443", "--admin-socket", "/run/other-admin.sock"]
    return postern.server.run("postern-server", "serve", *where, check=False, seconds=GIVE_UP_SECONDS)


def test_a_server_on_a_taken_port_says_so(postern: Postern) -> None:
    assert _init(postern, "/var/lib/other").returncode == 0
    line = expect(_serve(postern, "/var/lib/other"), "AddressInUse")
    assert "443" in line


def test_a_server_without_state_says_so(postern: Postern) -> None:
    line = expect(_serve(postern, "/var/lib/nothing-here"), "StateUnusable")
    assert "/var/lib/nothing-here" in line


def test_a_second_server_on_the_same_state_says_so(postern: Postern) -> None:
    expect(_serve(postern, SERVER_STATE), "AlreadyRunning")


def test_init_never_overwrites_a_state(postern: Postern) -> None:
    expect(_init(postern, SERVER_STATE), "Conflict", "StateUnusable", "AlreadyRunning")
    assert postern.admin("network", "show")["name"] == "home"


def test_admin_commands_say_what_is_wrong_with_their_input(postern: Postern) -> None:
    add = ["resource", "add", "r", "--remote-network", REMOTE_NETWORK, "--address"]
    expect(_admin(postern, "spaceship", "launch"), "Usage")
    expect(_admin(postern, *add, "not a name"), "Usage")
    expect(_admin(postern, *add, "10.0.0.0/99"), "Usage")
    expect(_admin(postern, *add, "x.home.lan", "--tcp", "0,70000"), "Usage")
    expect(_admin(postern, *add, "x.home.lan", "--tcp", "9000-80"), "Usage")
    expect(_admin(postern, "resource", "add", "r", "--remote-network", "moon", "--address", "x.home.lan"), "NotFound")
    expect(_admin(postern, "connector", "tokens", "nobody"), "NotFound")
    expect(_admin(postern, "connector", "add", CONNECTOR_NAME, "--remote-network", REMOTE_NETWORK), "Conflict")
    expect(_admin(postern, "access", "grant", "web", "--group", "strangers"), "NotFound")


def test_garbage_at_the_servers_port_is_dropped_and_work_goes_on(postern: Postern) -> None:
    spray = ["/usr/bin/python3", "-c", _SPRAY, topology.SERVER, str(GARBAGE_PACKETS)]
    assert postern.lab.host("internet").output(*spray) == "sprayed"
    assert postern.lab.is_running("postern-server")
    assert postern.laptop.output("curl", "-sS", "http://nginx.home.lan/nonce") == postern.lab.nonce


def test_a_wrong_password_at_the_sign_in_page_is_refused_and_the_right_one_still_works(postern: Postern) -> None:
    """The last test here: it signs the laptop out."""
    postern.client("logout")
    with pytest.raises(LabError):
        postern.login(password="wrong")
    assert postern.status_word() != "online"
    postern.login()
    postern.await_online()
