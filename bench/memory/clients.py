"""Many clients of one connector: real daemons without a TUN, each a device that has signed in and has a session.

They run on the host `internet`. The server bounds what one address may ask and how many devices a person has, so each of
them signs in from an address of its own, and every 25 are another person's.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from harness.subject import ECHO_PORT
from lab.postern import Postern
from lab.testbed import Host, Lab, LabError, await_true, say
from lab.topology import SERVER, TARGET_NAME

from .rest import rss_anon_kb, rss_anon_kb_at_rest

CONNECTOR = "postern-connector"
AT_ONCE = 10
"""Sign-ins that wait for each other: the daemon asks only every five seconds whether a person has answered."""
DEVICES_EACH = 25
_SECONDS = 60.0


def measure(lab: Lab, count: int) -> dict[str, Any]:
    """What a fresh connector holds for each of so many clients; the first ten are there before, to warm it up."""
    crowd = _Crowd(lab)
    crowd.restart_connector()
    crowd.grow(AT_ONCE)
    before = rss_anon_kb_at_rest(lab, [CONNECTOR])[CONNECTOR]
    crowd.grow(AT_ONCE + count)
    after = rss_anon_kb_at_rest(lab, [CONNECTOR])[CONNECTOR]
    own = sorted(rss_anon_kb(lab, crowd.names).values())
    return {
        "clients": count,
        "connector_rss_anon_kb": {"before": before, "after": after},
        "bytes_per_client": round((after - before) * 1024 / count, 1),
        "client_rss_anon_kb_median": own[len(own) // 2],
    }


class _Crowd:
    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._host: Host = lab.host("internet")
        self._postern = Postern(lab)
        self._postern.look_at_network()
        self._host.run("install", "-d", "/run/crowd")
        self.names: list[str] = []

    def restart_connector(self) -> None:
        """What it held for flows before would be used again, and hide what clients need."""
        self._postern.kill_connector()
        self._postern.serve_connector()

    def grow(self, to: int) -> None:
        while len(self.names) < to:
            numbers = range(len(self.names), min(to, len(self.names) + AT_ONCE))
            for number in numbers:
                self._start(number)
            logins = [self._begin_login(number) for number in numbers]
            try:
                self._sign_in(numbers, logins)
            finally:
                for login in logins:
                    login.kill()
                    login.wait()
            for number in numbers:
                self._open_session(number)
            say(f"{len(self.names)} clients, connector {rss_anon_kb(self._lab, [CONNECTOR])[CONNECTOR]} kB")

    def _start(self, number: int) -> None:
        if number % DEVICES_EACH == 0:
            password = self._postern.password_file("crowd", self._postern.user_password)
            self._postern.admin("user", "add", _email(number), "--password-file", password)
            self._postern.admin("group", "add-user", self._postern.group, _email(number))
        name, state = f"crowd-{number}", f"/run/crowd/{number}"
        options = ["--state", state, "--socket", self._socket(number), "--tun", "none", "--resolv-conf", "none"]
        self._host.run("install", "-d", "-m", "700", state)
        self._host.spawn(name, "posternd", *options)
        self.names.append(name)

    def _socket(self, number: int) -> str:
        return f"/run/crowd/{number}/socket"

    def _client(self, number: int, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self._host.run("postern", "--socket", self._socket(number), *words, **options)

    def _come_from(self, number: int) -> None:
        """The host's connections to the server have this client's address from now on."""
        address = f"203.0.113.{100 + number % 100}"
        self._host.run("ip", "address", "replace", f"{address}/24", "dev", "br0")
        self._host.run("ip", "route", "replace", SERVER, "dev", "br0", "src", address)

    def _begin_login(self, number: int) -> subprocess.Popen[str]:
        self._come_from(number)
        answers = lambda: self._client(number, "status", "--short", check=False).stdout.strip()  # noqa: E731
        await_true(f"client {number} answers", answers, _SECONDS)
        argv = ("postern", "--socket", self._socket(number), "login", self._postern.enrolment_url)
        return self._host.popen(*argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def _sign_in(self, numbers: range, logins: list[subprocess.Popen[str]]) -> None:
        for number, login in zip(numbers, logins, strict=True):
            page, code = self._postern.read_invitation(login)
            self._come_from(number)
            self._postern.sign_in(page, code, _email(number), self._postern.user_password, self._host)
        for number, login in zip(numbers, logins, strict=True):
            if login.wait(_SECONDS) != 0:
                raise LabError(f"client {number} could not sign in: `postern login` exited with {login.returncode}")

    def _open_session(self, number: int) -> None:
        """By a flow that says nothing; the session stays when it has ended."""

        def has_session() -> bool:
            self._client(number, "nc", TARGET_NAME, str(ECHO_PORT), text="", check=False)
            status = json.loads(self._client(number, "status", "--json").stdout)
            return any(session["state"] == "ready" for session in status["sessions"])

        await_true(f"client {number} has a session", has_session, _SECONDS, every=0.2)


def _email(number: int) -> str:
    return f"person{number // DEVICES_EACH}@example.org"
