"""`./dev soak`: hours of real time with the real programs. Three flows live through everything that happens: an ssh
session, a psql session, and transfers of 1 GiB whose content is checked. Events come by chance from a seed; after each,
the two sessions must answer and the transfer must move.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from . import nat, scratch, services
from .live import LiveShell
from .postern import Postern
from .testbed import Host, Lab, LabError, await_true, read_line, say
from .topology import CONNECTOR, SERVER

BACK_SECONDS = 60.0
"""After an event everything must move again within this."""
DIRECT_SECONDS = 300.0
"""A direct way is looked for ever more rarely after it was lost."""
PAUSE_SECONDS = (5.0, 30.0)
TRANSFER_RATE = "20M"
MOVED_BYTES = 2_000_000
OTHER_CONNECTOR = "192.168.1.110"


class Failed(LabError):
    """A flow did not live through what happened."""


class LivePsql:
    """One session of psql that answers each question."""

    def __init__(self, postern: Postern) -> None:
        command = services.psql_command(postern.lab, "db.home.lan")
        environment = services.psql_environment(postern.lab)
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        self._process = postern.laptop.popen(*command, env=environment, bufsize=1, **pipes)

    def answers(self, number: int) -> bool:
        if self._process.stdin is None:
            return False
        self._process.stdin.write(f"select {number} + 1;\n")
        self._process.stdin.flush()
        return read_line(self._process, BACK_SECONDS).strip() == str(number + 1)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Transfers:
    """One download of 1 GiB after the other, slow enough to be under way whenever something happens."""

    def __init__(self, postern: Postern) -> None:
        self._postern = postern
        self._checksum = services.big_file().checksum
        self.done = 0
        self._start()

    def _start(self) -> None:
        self._name = f"transfer-{self.done}"
        script = f"curl -sSf --limit-rate {TRANSFER_RATE} http://nginx.home.lan/big | b2sum"
        self._postern.lab.host("laptop").spawn(self._name, "bash", "-o", "pipefail", "-c", script)

    def check(self) -> None:
        before = self._arrived()
        moves = lambda: self._arrived() > before + MOVED_BYTES or not self._postern.lab.is_running(self._name)  # noqa: E731
        try:
            await_true("the transfer moves", moves, BACK_SECONDS, every=0.2)
        except LabError as error:
            raise Failed(str(error)) from None
        if self._postern.lab.is_running(self._name):
            return
        said = self._postern.lab.log(self._name)
        if self._checksum not in said:
            raise Failed(f"the transfer number {self.done} ended badly: {said.strip()[-300:]}")
        self.done += 1
        self._start()

    def _arrived(self) -> int:
        return sum(session["bytes_received"] for session in self._postern.status()["sessions"])

    def close(self) -> None:
        if self._postern.lab.is_running(self._name):
            self._postern.lab.stop(self._name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev soak", description="Hours of real time, with events by chance.")
    parser.add_argument("--minutes", type=float, default=120, help="how long (default: 120)")
    parser.add_argument("--away-minutes", type=float, default=60, help="how long the controller is away once (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the events (default: 1)")
    options = parser.parse_args(arguments)
    return scratch.in_lab("soak", lambda lab: _soak(lab, options))


def _soak(lab: Lab, options: argparse.Namespace) -> int:
    services.start_all(lab)
    postern = Postern(lab)
    postern.start_all()
    shell, psql, transfers = LiveShell(postern), LivePsql(postern), Transfers(postern)
    chance = random.Random(options.seed)  # noqa: S311 - a choice of events, no secret
    events = _events(postern, chance)
    end = time.monotonic() + options.minutes * 60
    away_at = time.monotonic() + max(0.0, options.minutes - options.away_minutes) * 30
    number = 0
    try:
        _check(shell, psql, transfers, number)
        while time.monotonic() < end:
            number += 1
            if away_at is not None and time.monotonic() >= away_at and options.away_minutes > 0:
                name, event = "the controller is away", lambda: _controller_away(postern, options.away_minutes, check)
                away_at = float("inf")
            else:
                name, event = chance.choice(events)

            def check(count: int = number) -> None:
                _check(shell, psql, transfers, count)

            say(f"{number}: {name}")
            event()
            started = time.monotonic()
            check()
            say(f"{number}: all three live, {time.monotonic() - started:.1f} s later; {transfers.done} transfers so far")
            _rest(chance.uniform(*PAUSE_SECONDS), lab)
    except LabError:
        _say_state(postern)
        raise
    finally:
        shell.close()
        psql.close()
        transfers.close()
    say(f"soak: {number} events, {transfers.done} transfers of 1 GiB, one ssh and one psql session: all lived")
    return 0


def _say_state(postern: Postern) -> None:
    """What the client says of itself, for who looks for the cause."""
    for verb in ("status", "flows"):
        said = postern.client(verb, "--json", check=False)
        say(f"soak: {verb}: {said.stdout.strip()} {said.stderr.strip()}")


def _check(shell: LiveShell, psql: LivePsql, transfers: Transfers, number: int) -> None:
    try:
        if not shell.echoes(f"line {number}", BACK_SECONDS):
            raise Failed("the ssh session answered with something else")
        if not psql.answers(number):
            raise Failed("the psql session answered with something else")
    except (LabError, OSError) as error:
        raise Failed(f"a session does not answer: {error}") from None
    transfers.check()


def _rest(seconds: float, lab: Lab) -> None:
    """Lets time pass; ends early when a program has died."""
    until = time.monotonic() + seconds
    names = ("posternd", "postern-server", "postern-connector")

    def is_over() -> bool:
        for name in names:
            if not lab.is_running(name):
                raise Failed(f"{name} has ended:\n{lab.log(name)[-1000:]}")
        return time.monotonic() >= until

    await_true("the pause is over", is_over, seconds + 10, every=0.5)


# --- what happens ----------------------------------------------------------------------------------------------------


def _events(postern: Postern, chance: random.Random) -> list[tuple[str, Callable[[], None]]]:
    lab = postern.lab
    laptop, home = lab.host("laptop-nat"), lab.host("home-nat")
    return [
        ("the server is killed and starts again", lambda: _restart_server(postern)),
        ("the laptop has no network for 60 s", lambda: _for(60, nat.no_network(laptop), lab)),
        ("the home network has none for 60 s", lambda: _for(60, nat.no_network(home), lab)),
        ("the laptop has none for some seconds", lambda: _for(chance.uniform(1, 15), nat.no_network(laptop), lab)),
        ("only the server can be reached by UDP", lambda: _for(chance.uniform(5, 40), _only_server(laptop), lab)),
        ("the laptop's UDP is blocked", lambda: _for(chance.uniform(20, 60), _no_udp(laptop), lab)),
        ("the connector's address changes", lambda: _for(chance.uniform(10, 30), _other_address(lab), lab)),
    ]


def _restart_server(postern: Postern) -> None:
    postern.kill_server()
    postern.serve()


def _controller_away(postern: Postern, minutes: float, check: Callable[[], None]) -> None:
    """The server is gone with its relay; what goes directly lives on meanwhile."""

    def goes_directly() -> bool:
        check()
        return any(session["path"] == "direct" for session in postern.status()["sessions"])

    await_true("the session goes directly", goes_directly, DIRECT_SECONDS, every=1)
    postern.kill_server()
    until = time.monotonic() + minutes * 60
    while time.monotonic() < until:
        check()
        pause = min(30.0, max(0.0, until - time.monotonic()))
        end = time.monotonic() + pause
        await_true("half a minute passes", lambda stop=end: time.monotonic() >= stop, pause + 10, every=0.5)
    postern.serve()


def _for(seconds: float, state: AbstractContextManager[None], lab: Lab) -> None:
    with state:
        _rest(seconds, lab)


@contextmanager
def _only_server(router: Host) -> Iterator[None]:
    nat.block_udp(router, but=SERVER)
    try:
        yield
    finally:
        nat.unblock_udp(router)


@contextmanager
def _no_udp(router: Host) -> Iterator[None]:
    nat.block_udp(router)
    try:
        yield
    finally:
        nat.unblock_udp(router)


@contextmanager
def _other_address(lab: Lab) -> Iterator[None]:
    """Towards the internet only: the connector's connections in the home network live on."""
    connector = lab.host("connector")
    connector.run("ip", "address", "add", f"{OTHER_CONNECTOR}/24", "dev", "eth0")
    connector.run("ip", "route", "replace", "default", "via", "192.168.1.1", "src", OTHER_CONNECTOR)
    try:
        yield
    finally:
        connector.run("ip", "route", "replace", "default", "via", "192.168.1.1", "src", CONNECTOR)
        connector.run("ip", "address", "del", f"{OTHER_CONNECTOR}/24", "dev", "eth0")
