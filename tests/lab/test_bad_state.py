"""State that is damaged, full, locked or not ours, and resolvers that lie: one line, the documented exit code, nothing
lost. Each case works on a copy of a good state, and the good state still works afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import probes
from lab.postern import REMOTE_NETWORK, Postern
from lab.testbed import Host, Lab, await_true
from lab.test_bad_input import EXIT_CODES, expect

LISTEN = "127.0.0.1:4443"
SOCKET = "/run/spoiled-admin.sock"
SERVE_SECONDS = 15.0
CHANGE_SECONDS = 10.0
REFUSED_SECONDS = 15.0
NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


class SpoiledState:
    """A copy of a good state folder, visible to the host `server`, and the server that runs on it."""

    def __init__(self, server: Host, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.database = folder / "postern.db"

    def serve(self, *prefix: str, seconds: float = SERVE_SECONDS) -> subprocess.CompletedProcess[str]:
        """Runs the server until it gives up."""
        return self.server.run(*prefix, *self._argv(), check=False, seconds=seconds)

    def serve_mounted(self, mount: str) -> subprocess.CompletedProcess[str]:
        """The same after a mount that only this server sees."""
        return self.serve("unshare", "-m", "--propagation", "private", "sh", "-ec", f'{mount}; exec "$@"', "sh")

    def admin(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.server.run("postern-server", "admin", "--socket", SOCKET, *words, check=False)

    def _argv(self) -> list[str]:
        return ["postern-server", "serve", "--state", str(self.folder), "--listen", LISTEN, "--admin-socket", SOCKET]


@pytest.fixture(scope="module")
def good(lab: Lab) -> Path:
    """A state that works."""
    folder = lab.run_dir / "good-state"
    password = lab.run_dir / "good.password"
    password.write_text("a long enough password\n", encoding="utf-8")
    password.chmod(0o600)
    who = ["--network", "other", "--address", "127.0.0.1", "--admin-email", "a@example.org"]
    init = ["postern-server", "init", "--state", str(folder), *who, "--password-file", str(password)]
    lab.host("server").run(*init)
    return folder


@pytest.fixture
def state(lab: Lab, good: Path, request: pytest.FixtureRequest) -> SpoiledState:
    copy = lab.run_dir / f"state-{request.node.nodeid.__hash__() & 0xFFFFFFFF:08x}"
    lab.host("server").run("cp", "-a", str(good), str(copy))
    return SpoiledState(lab.host("server"), copy)


@pytest.fixture
def running(lab: Lab, state: SpoiledState) -> Iterator[SpoiledState]:
    """The same on a small file system of its own, with a server that runs on it."""
    folder = str(state.folder)
    # In place of the copy and seen by everything on this host: the server, and whoever fills or locks it.
    mount = f"mkdir /run/small && mount -t tmpfs -o size=3m,mode=700 none /run/small && cp -a {folder}/. /run/small/"
    state.server.run("sh", "-ec", mount)
    state.folder, state.database = Path("/run/small"), Path("/run/small/postern.db")
    state.server.spawn("spoiled-server", *state._argv())
    try:
        await_true("the server answers", lambda: state.admin("network", "show").returncode == 0, SERVE_SECONDS)
        yield state
    finally:
        lab.stop("spoiled-server")
        state.server.run("sh", "-ec", "umount /run/small && rmdir /run/small")


# --- at start --------------------------------------------------------------------------------------------------------


def _truncate(size: int) -> Callable[[Path], None]:
    return lambda database: os.truncate(database, size)


def _scribble(offset: int) -> Callable[[Path], None]:
    def spoil(database: Path) -> None:
        with open(database, "r+b") as file:
            file.seek(offset)
            file.write(random.Random(1).randbytes(20_000))

    return spoil


def _from_the_future(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("pragma user_version = 999")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (_truncate(0), "empty"),
        (_truncate(100), "damaged"),
        (_truncate(8192), "damaged"),
        (_scribble(0), "not a database"),
        (_scribble(4096), "damaged"),
        (_from_the_future, "newer Postern"),
        (lambda database: (database.parent / "master.key").unlink(), "master.key"),
        (lambda database: os.truncate(database.parent / "master.key", 10), "master key"),
        (lambda database: database.unlink(), "init"),
    ],
    ids=["empty", "cut short", "cut", "other bytes", "scribbled", "newer", "no key", "half a key", "no database"],
)
def test_a_spoiled_state_is_refused_and_left_as_it_is(
    state: SpoiledState, spoil: Callable[[Path], None], word: str
) -> None:
    spoil(state.database)
    before = {path.name: path.read_bytes() for path in state.folder.iterdir() if path.suffix != ".lock"}
    assert word in expect(state.serve(), "StateUnusable")
    after = {path.name: path.read_bytes() for path in state.folder.iterdir() if path.name in before}
    assert after == before


def test_a_state_that_others_may_read_is_refused(state: SpoiledState) -> None:
    (state.folder / "master.key").chmod(0o644)
    assert "chmod 600" in expect(state.serve(), "NotPermitted")


def test_a_state_of_another_user_is_refused(state: SpoiledState) -> None:
    assert str(state.database) in expect(state.serve(*NOBODY), "NotPermitted")


def test_a_state_on_a_read_only_file_system_is_refused(state: SpoiledState) -> None:
    folder = str(state.folder)
    mount = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"
    assert "writable file system" in expect(state.serve_mounted(mount), "NotPermitted")


def test_a_state_on_a_full_file_system_is_refused(state: SpoiledState) -> None:
    folder = str(state.folder)
    copy = f"mkdir {folder}.full && mount -t tmpfs -o size=400k,mode=700 none {folder}.full && cp -a {folder}/. {folder}.full"
    fill = f"dd if=/dev/zero of={folder}.full/fill bs=1k 2> /dev/null || true; mount --move {folder}.full {folder}"
    assert "no space left" in expect(state.serve_mounted(f"{copy}; {fill}"), "StateUnusable")


@pytest.mark.parametrize(
    "words",
    [
        ["--roles", "nothing"],
        ["--listen", "nowhere:99999"],
        ["--key", "/nonexistent"],
        ["--public-address", "example"],
        ["--no-such-option"],
    ],
    ids=lambda words: " ".join(words),
)
def test_options_that_make_no_sense_are_refused(state: SpoiledState, words: list[str]) -> None:
    argv = ["postern-server", "serve", "--state", str(state.folder), *words]
    line = expect(state.server.run(*argv, check=False, seconds=SERVE_SECONDS), "Usage")
    assert words[0] in line


def test_init_refuses_two_places_at_once(lab: Lab) -> None:
    who = ["--network", "x", "--admin-email", "a@example.org", "--address", "127.0.0.1", "--domain", "x.example.org"]
    argv = ["postern-server", "init", "--state", str(lab.run_dir / "never"), *who]
    line = expect(lab.host("server").run(*argv, check=False), "Usage")
    assert "--address" in line and "--domain" in line
    assert not (lab.run_dir / "never").exists()


# --- while it runs ---------------------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_refuses_changes_and_loses_nothing(lab: Lab, running: SpoiledState) -> None:
    assert running.admin("group", "add", "before").returncode == 0
    running.server.run("sh", "-c", "dd if=/dev/zero of=/run/small/fill bs=1k 2> /dev/null || true")
    assert "no space left" in expect(running.admin("group", "add", "during"), "StateUnusable")
    assert "before" in running.admin("group", "list").stdout
    running.server.run("rm", "/run/small/fill")
    assert running.admin("group", "add", "after").returncode == 0
    groups = running.admin("group", "list").stdout
    assert "before" in groups and "after" in groups and "during" not in groups
    assert lab.is_running("spoiled-server")


def test_a_database_that_somebody_locks_refuses_changes_until_it_is_free(lab: Lab, running: SpoiledState) -> None:
    hold = (
        "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1]); connection.execute('begin immediate'); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    argv = ["/usr/bin/python3", "-c", hold, str(running.database)]
    holder = running.server.popen(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        assert "locked by another program" in expect(running.admin("group", "add", "during"), "AlreadyRunning")
    finally:
        holder.kill()
        holder.wait()
    assert running.admin("group", "add", "after").returncode == 0
    assert lab.is_running("spoiled-server")


# --- resolvers that lie ----------------------------------------------------------------------------------------------

_LIAR = """
import socket, sys
way, address, port = sys.argv[1], sys.argv[2], 53
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((address, port))
print("ready", flush=True)
while True:
    question, peer = udp.recvfrom(4096)
    if way == "silence":
        continue
    if way == "garbage":
        udp.sendto(question[:2] + bytes(range(256)), peer)
        continue
    end = question.index(0, 12) + 5
    is_a = question[end - 3] == 1
    head = question[:2] + b"\\x81\\x80\\x00\\x01" + (b"\\x00\\x01" if is_a else b"\\x00\\x00") + b"\\x00\\x00\\x00\\x00"
    answer = b"\\xc0\\x0c\\x00\\x01\\x00\\x01\\x00\\x00\\x00\\x3c\\x00\\x04" + socket.inet_aton(way) if is_a else b""
    udp.sendto(head + question[12:end] + answer, peer)
"""
_LIAR_ADDRESS = "127.0.0.99"


@pytest.fixture(scope="module")
def lied_to(lab: Lab, postern: Postern) -> Iterator[Postern]:
    """A connector that asks a resolver of ours; what it says changes from test to test."""
    postern.kill_connector()
    tokens = json.loads((lab.run_dir / "connector-tokens.json").read_text("utf-8"))
    environment = {f"POSTERN_{key.upper()}": value for key, value in tokens.items()}
    environment["POSTERN_DNS"] = _LIAR_ADDRESS
    postern.connector.spawn("postern-connector", "postern-connector", env=environment)
    await_true("the connector is healthy", postern.connector_is_healthy, SERVE_SECONDS)
    yield postern


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("silence", "name_lookup_failed"),
        ("garbage", "name_lookup_failed"),
        ("127.0.0.1", "forbidden_address"),
        ("169.254.169.254", "forbidden_address"),
        ("0.0.0.0", "forbidden_address"),
        ("224.0.0.1", "forbidden_address"),
    ],
)
def test_what_a_lying_resolver_says_reaches_nothing(lab: Lab, lied_to: Postern, way: str, reason: str) -> None:
    name = f"liar-{way.replace('.', '-')}.home.lan"
    lied_to.add_resource(name, name, tcp="9999")  # the connector's own health port: what an attacker would want
    lied_to.grant(name)
    await_true("the laptop knows the name", lambda: lied_to.virtual_address(name), CHANGE_SECONDS)
    liar = f"liar {way}"
    lied_to.connector.spawn(liar, "/usr/bin/python3", "-c", _LIAR, way, _LIAR_ADDRESS)
    await_true("the resolver runs", lambda: lab.log(liar), CHANGE_SECONDS)
    try:
        assert probes.connect(lied_to.laptop, name, 9999, seconds=REFUSED_SECONDS) in ("unreachable", "prohibited")
    finally:
        lab.stop(liar)
    flows = lambda: [flow for flow in _refused(lied_to, name)]  # noqa: E731
    await_true("the flow log has the reason", lambda: reason in str(flows()), CHANGE_SECONDS)


def _refused(postern: Postern, target: str) -> list[object]:
    answer = postern.admin("flow", "list")
    return [flow for flow in answer["flows"] if target in str(flow)]


def test_everything_works_after_all_of_it(lab: Lab, lied_to: Postern) -> None:
    lied_to.kill_connector()
    lied_to.serve_connector()
    works = lambda: probes.connect(lied_to.laptop, "nginx.home.lan", 80) == "open"  # noqa: E731
    await_true("flows work with an honest resolver", works, CHANGE_SECONDS)
    assert EXIT_CODES["StateUnusable"] == 7 and REMOTE_NETWORK
