"""Many clients of one connector: real daemons without a TUN, each a device that has signed in and has a session.

They run on the host `internet`. The server bounds what one address may ask and how many devices a person has, so every 15
of them sign in from another address, as another person.
"""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harness.subject import ECHO_PORT
from lab.postern import Postern
from lab.testbed import Host, Lab, LabError, await_true, say
from lab.topology import SERVER, TARGET_NAME

from .rest import rss_anon_kb, rss_anon_kb_at_rest

CONNECTOR = "postern-connector"
EACH = 15
"""Clients of one person, who has one address."""
AT_ONCE = 3 * EACH
"""Sign-ins that wait for each other: the daemon asks only every five seconds whether a person has answered."""
WORKERS = 4
WARM_UP = EACH
_SECONDS = 60.0


def measure(lab: Lab, count: int) -> dict[str, Any]:
    """What a fresh connector holds for each of so many clients; the first few are there before, to warm it up."""
    crowd = _Crowd(lab)
    crowd.restart_connector()
    crowd.grow(WARM_UP)
    before = rss_anon_kb_at_rest(lab, [CONNECTOR])[CONNECTOR]
    crowd.grow(WARM_UP + count)
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
            with ThreadPoolExecutor(WORKERS) as pool:
                self.names += pool.map(self._start, numbers)
                self._sign_in(pool, numbers)
                list(pool.map(self._open_session, numbers))
            say(f"{len(self.names)} clients, connector {rss_anon_kb(self._lab, [CONNECTOR])[CONNECTOR]} kB")

    def _start(self, number: int) -> str:
        name, state = f"crowd-{number}", f"/run/crowd/{number}"
        options = ["--state", state, "--socket", self._socket(number), "--tun", "none", "--resolv-conf", "none"]
        self._host.run("install", "-d", "-m", "700", state)
        self._host.spawn(name, "posternd", *options)
        answers = lambda: self._client(number, "status", "--short", check=False).stdout.strip()  # noqa: E731
        await_true(f"client {number} answers", answers, _SECONDS)
        return name

    def _socket(self, number: int) -> str:
        return f"/run/crowd/{number}/socket"

    def _client(self, number: int, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self._host.run("postern", "--socket", self._socket(number), *words, **options)

    def _sign_in(self, pool: ThreadPoolExecutor, numbers: range) -> None:
        logins: dict[int, subprocess.Popen[str]] = {}
        try:
            for first in range(numbers.start, numbers.stop, EACH):
                person = _Person(self._postern, self._host, first // EACH)
                person.arrive()
                group = range(first, min(first + EACH, numbers.stop))
                logins |= {number: self._begin_login(number) for number in group}
                list(pool.map(lambda number, person=person: person.sign_in(logins[number]), group))
            for number, login in logins.items():
                if login.wait(_SECONDS) != 0:
                    raise LabError(f"client {number} could not sign in: `postern login` exited with {login.returncode}")
        finally:
            for login in logins.values():
                login.kill()
                login.wait()

    def _begin_login(self, number: int) -> subprocess.Popen[str]:
        argv = ("postern", "--socket", self._socket(number), "login", self._postern.enrolment_url)
        return self._host.popen(*argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def _open_session(self, number: int) -> None:
        """By a flow that says nothing; the session stays when it has ended."""

        def has_session() -> bool:
            self._client(number, "nc", TARGET_NAME, str(ECHO_PORT), text="", check=False)
            status = json.loads(self._client(number, "status", "--json").stdout)
            return any(session["state"] == "ready" for session in status["sessions"])

        await_true(f"client {number} has a session", has_session, _SECONDS, every=0.2)


class _Person:
    def __init__(self, postern: Postern, host: Host, number: int) -> None:
        self._postern = postern
        self._host = host
        self._email = f"person{number}@example.org"
        self._address = f"203.0.113.{100 + number % 100}"

    def arrive(self) -> None:
        """There is such a user, and what goes from the host to the server has this person's address from now on."""
        password = self._postern.password_file("crowd", self._postern.user_password)
        self._postern.admin("user", "add", self._email, "--password-file", password)
        self._postern.admin("group", "add-user", self._postern.group, self._email)
        self._host.run("ip", "address", "replace", f"{self._address}/24", "dev", "br0")
        self._host.run("ip", "route", "replace", SERVER, "dev", "br0", "src", self._address)

    def sign_in(self, login: subprocess.Popen[str]) -> None:
        page, code = self._postern.read_invitation(login)
        self._postern.sign_in(page, code, self._email, self._postern.user_password, self._host)
