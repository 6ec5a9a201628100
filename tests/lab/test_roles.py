"""Controller and relay as two processes: each is killed alone with -9 while an ssh and a psql session run over them."""

from __future__ import annotations

import subprocess
import time

import pytest

from lab import services
from lab.postern import RELAY_NAME, RELAY_PORT, RELAY_STATE, Postern
from lab.test_restarts import LiveShell
from lab.testbed import Lab, await_true, read_line

LINE_SECONDS = 20.0
NEW_FLOW_SECONDS = 5.0
EXIT_SECONDS = 20.0
REFRESH_SECONDS = 60.0
"""Without a controller nobody says that a relay has started again: agents notice when they bind anew, after 20 s, and
the session's next packet may be some seconds away then."""


class LiveQuery:
    """A psql session that stays open and answers each question."""

    def __init__(self, postern: Postern) -> None:
        command = services.psql_command(postern.lab, "db.home.lan")
        self._process = postern.laptop.popen(
            *command,
            env=services.psql_environment(postern.lab),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=1,
        )

    def echoes(self, word: str, seconds: float = LINE_SECONDS) -> bool:
        assert self._process.stdin is not None
        self._process.stdin.write(f"select '{word}';\n")
        self._process.stdin.flush()
        return read_line(self._process, seconds).strip() == word

    def ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Sessions:
    """The ssh and the psql session that have to live through it all."""

    def __init__(self, postern: Postern) -> None:
        self.all = (LiveShell(postern), LiveQuery(postern))

    def answer(self, word: str, seconds: float = LINE_SECONDS) -> bool:
        return all(session.echoes(word, seconds) for session in self.all)

    def close(self) -> None:
        for session in self.all:
            session.close()


@pytest.fixture(scope="module")
def postern(lab: Lab) -> Postern:
    """A server that is a controller only, a relay on another port, and the rest as ever."""
    running = Postern(lab)
    running.serve_options = ("--roles", "controller")
    running.init_server()
    running.serve()
    running.create_model()
    running.add_relay()
    running.serve_relay()
    running.start_connector()
    running.start_client()
    running.login()
    running.await_online()
    return running


@pytest.fixture
def sessions(postern: Postern, request: pytest.FixtureRequest) -> Sessions:
    _ensure_all_run(postern)
    open_now = Sessions(postern)
    request.addfinalizer(open_now.close)
    assert open_now.answer("before")
    return open_now


def _ensure_all_run(postern: Postern) -> None:
    """Also after a test that failed half-way."""
    if not postern.lab.is_running("postern-server"):
        postern.serve()
    if not postern.lab.is_running("postern-relay"):
        postern.serve_relay()
    await_true("a flow works", lambda: _fetch(postern) == postern.lab.nonce, LINE_SECONDS)


def _fetch(postern: Postern) -> str:
    asked = postern.laptop.run("curl", "-sS", "-m", "2", "http://nginx.home.lan/nonce", check=False)
    return asked.stdout.strip()


def _seconds_until_a_new_flow(postern: Postern, since: float) -> float:
    await_true("a new flow works", lambda: _fetch(postern) == postern.lab.nonce, NEW_FLOW_SECONDS + 10)
    return time.monotonic() - since


def _relay(postern: Postern) -> dict[str, object]:
    relays: list[dict[str, object]] = postern.admin("relay", "list")["relays"]
    return next(relay for relay in relays if relay["name"] == RELAY_NAME)


def _refused(postern: Postern, *options: str, state: str, env: dict[str, str]) -> tuple[int, str]:
    """Exit code and words of a relay that must not come up."""
    postern.server.run("install", "-d", "-m", "700", state)
    command = [*postern.relay_command(state, port=8444), *options]
    ended = postern.server.run(*command, check=False, env=env, seconds=EXIT_SECONDS)
    return ended.returncode, ended.stderr


def test_flows_go_over_the_relay_that_runs_apart(postern: Postern, sessions: Sessions) -> None:
    assert _fetch(postern) == postern.lab.nonce
    await_true("its load is known", lambda: int(str(_relay(postern).get("bindings", 0))) >= 2, LINE_SECONDS)
    relay = _relay(postern)
    assert relay["state"] == "online" and relay["addresses"] == [f"203.0.113.10:{RELAY_PORT}"]
    assert postern.server.run("ss", "-Hlnu", "sport", "=", ":443").stdout == "", "the controller forwards nothing"


def test_flows_survive_kill_9_and_restart_of_the_controller_alone(postern: Postern, sessions: Sessions) -> None:
    postern.kill_server()
    assert sessions.answer("without a controller")
    postern.serve()
    returned = time.monotonic()
    assert _seconds_until_a_new_flow(postern, returned) < NEW_FLOW_SECONDS
    assert sessions.answer("after")


def test_flows_survive_kill_9_and_restart_of_the_relay_alone(postern: Postern, sessions: Sessions) -> None:
    epoch = _relay(postern)["epoch"]
    postern.kill_relay()
    postern.serve_relay()
    returned = time.monotonic()
    assert _seconds_until_a_new_flow(postern, returned) < NEW_FLOW_SECONDS
    assert sessions.answer("after")
    await_true("the new epoch is known", lambda: _relay(postern).get("epoch") not in (None, epoch), LINE_SECONDS)


def test_a_relay_that_starts_while_the_controller_is_away_serves_those_with_tickets(
    postern: Postern, sessions: Sessions
) -> None:
    postern.kill_server()
    postern.kill_relay()
    postern.serve_relay()
    assert sessions.answer("with a new relay and no controller", REFRESH_SECONDS)
    postern.serve()
    assert sessions.answer("after")


def test_a_second_relay_cannot_use_the_token(postern: Postern) -> None:
    code, said = _refused(postern, state="/tmp/relay2", env=postern.relay_environment())
    assert code == 3 and "used by another relay" in said and said.count("\n") == 1, said


def test_a_wrong_or_damaged_token_ends_the_relay_with_one_line(postern: Postern) -> None:
    environment = postern.relay_environment()
    wrong = {**environment, "POSTERN_RELAY_TOKEN": "prl1_" + "A" * 43}
    code, said = _refused(postern, state="/tmp/relay3", env=wrong)
    assert code == 3 and "make a new one with postern-server admin relay token" in said, said
    for token in ('"' + environment["POSTERN_RELAY_TOKEN"] + '"', "ptr1_" + "A" * 43, "x"):
        damaged = {**environment, "POSTERN_RELAY_TOKEN": token}
        code, said = _refused(postern, state="/tmp/relay3", env=damaged)
        assert code == 13 and "damaged" in said and said.count("\n") == 1, said


def test_a_controller_with_another_pin_is_not_trusted(postern: Postern) -> None:
    environment = postern.relay_environment()
    url = environment["POSTERN_CONTROLLER"].split("#")[0]
    other = {**environment, "POSTERN_CONTROLLER": url + "#ca=" + "A" * 43}
    code, said = _refused(postern, state="/tmp/relay3", env=other)
    assert code == 4 and "enrolment URL" in said, said


def test_options_that_contradict_each_other_are_named(postern: Postern) -> None:
    environment = postern.relay_environment()
    without = {key: value for key, value in environment.items() if key != "POSTERN_CONTROLLER"}
    cases: list[tuple[dict[str, str], list[str], str]] = [
        (without, [], "--controller"),
        (environment, ["--certificate", "/x", "--key", "/y"], "--certificate"),
        (environment, ["--public-address", "203.0.113.9"], "--public-address"),
        (environment, ["--relay-token-file", "/tmp/token"], "contradict"),
        (environment, ["--roles", "controller"], "--controller"),
        ({}, ["--roles", "controller", "--public-address", "203.0.113.9"], "--public-address"),
        ({}, ["--roles", "gateway"], "gateway"),
        (without | {"POSTERN_CONTROLLER": "http://x"}, [], "enrolment URL"),
    ]
    for env, options, named in cases:
        code, said = _refused(postern, *options, state="/tmp/relay4", env=env)
        assert code == 2 and named in said and said.count("\n") == 1, (options, code, said)


def test_a_relay_whose_token_was_replaced_ends_and_comes_back_with_the_new_one(postern: Postern) -> None:
    renewed = postern.admin("relay", "token", RELAY_NAME)
    ended = lambda: not postern.lab.is_running("postern-relay")  # noqa: E731
    await_true("the relay has ended", ended, LINE_SECONDS)
    assert postern.lab.processes()["postern-relay"]["exit"] == 3
    old = postern.relay_environment()
    code, said = _refused(postern, state=RELAY_STATE, env=old)
    assert code == 3, said
    (postern.lab.run_dir / "relay.json").write_text(
        '{"controller": "%s", "relay_token": "%s"}' % (renewed["controller"], renewed["relay_token"]), encoding="utf-8"
    )
    postern.serve_relay()
    _seconds_until_a_new_flow(postern, time.monotonic())


def test_agents_leave_a_relay_that_was_deleted_for_the_one_of_the_server(postern: Postern, sessions: Sessions) -> None:
    postern.serve_options = ()
    postern.kill_server()
    postern.serve()
    bound = lambda: {tuple(a["relays"]) for a in postern.admin("status")["agents"] if a["role"] == "connector"}  # noqa: E731
    await_true("the connector is bound at both", lambda: bound() == {(RELAY_NAME, "main")}, LINE_SECONDS)
    postern.admin("relay", "delete", RELAY_NAME)
    await_true("the relay has ended", lambda: not postern.lab.is_running("postern-relay"), LINE_SECONDS)
    assert sessions.answer("over the relay of the server")
    assert _seconds_until_a_new_flow(postern, time.monotonic()) < NEW_FLOW_SECONDS
