"""Bad input and bad luck on the laptop: clock, state folder, a server that moves. A clear line, and nothing is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab import topology
from lab.postern import CLIENT_SOCKET, CLIENT_STATE, Postern
from lab.test_bad_input import expect
from lab.testbed import await_true

MOVED = "203.0.113.11"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def start_daemon(postern: Postern, shift: str = "", state: str = CLIENT_STATE) -> None:
    """The daemon with a clock that is off, or with another state folder; the one of before must have ended."""
    # Not the program faketime: it would stay as parent, and only it would be stopped.
    clock = {"LD_PRELOAD": FAKETIME, "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1"} if shift else None
    postern.laptop.spawn("posternd", "posternd", "--state", state, "--socket", CLIENT_SOCKET, env=clock)
    await_true("the daemon answers", lambda: postern.status_word() not in ("", "not-running"), 20)


def fetches(postern: Postern) -> bool:
    page = postern.laptop.run("curl", "-sS", "--max-time", "10", "http://nginx.home.lan/nonce", check=False)
    return page.stdout == postern.lab.nonce


def posternd(postern: Postern, state: str) -> subprocess.CompletedProcess[str]:
    """A daemon that is to give up, beside the one that runs."""
    where = ["--state", state, "--socket", "/run/second.sock", "--tun", "second0"]
    return postern.laptop.run("posternd", *where, check=False, seconds=20)


@contextmanager
def stopped(postern: Postern) -> Iterator[None]:
    """While the daemon is down, and its own again afterwards."""
    postern.lab.stop("posternd")
    try:
        yield
    finally:
        if postern.lab.is_running("posternd"):
            postern.lab.stop("posternd")
        postern.start_client()
        postern.await_online()


@pytest.mark.parametrize("shift", ["+10m", "-10m", "+3y", "-3y"])
def test_a_clock_that_is_off_neither_keeps_the_laptop_out_nor_ends_its_leases(postern: Postern, shift: str) -> None:
    with stopped(postern):
        start_daemon(postern, shift)
        postern.await_online()
        assert fetches(postern)
        postern.client("logout")
        postern.login()
        postern.await_online()
        assert fetches(postern)


def test_a_state_folder_that_cannot_be_written_is_said_at_start(postern: Postern) -> None:
    postern.laptop.run("mkdir", "-p", "/run/ro")
    postern.laptop.run("mount", "-t", "tmpfs", "-o", "ro", "none", "/run/ro")
    line = expect(posternd(postern, "/run/ro"), "StateUnusable", "NotPermitted")
    assert "/run/ro" in line and "--state" in line


def test_a_state_of_a_newer_version_is_said_and_left_alone(postern: Postern) -> None:
    text = '{"version": 2, "host": "h", "port": 443}'
    postern.laptop.run("mkdir", "-p", "-m", "700", "/run/newer")
    postern.laptop.run("sh", "-c", f"echo '{text}' >/run/newer/sign-in.json")
    line = expect(posternd(postern, "/run/newer"), "StateUnusable")
    assert "newer version" in line
    assert postern.laptop.output("cat", "/run/newer/sign-in.json") == text


def test_a_full_state_folder_is_said_before_anybody_is_sent_to_a_browser(postern: Postern) -> None:
    """The folder is moved onto a small file system, which is then filled."""
    with stopped(postern):
        postern.laptop.run("mkdir", "-p", "/run/small")
        postern.laptop.run("mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "none", "/run/small")
        postern.laptop.run("cp", "-a", f"{CLIENT_STATE}/.", "/run/small/")
        start_daemon(postern, state="/run/small")
        postern.await_online()
        postern.laptop.run("sh", "-c", "cat /dev/zero >/run/small/fill; test -s /run/small/fill", check=False)
        url = postern.admin("network", "show")["enrolment_url"]
        assert "No space left" in expect(postern.client("login", url, check=False), "StateUnusable")
        assert postern.status_word() == "online" and fetches(postern)
        assert "No space left" in expect(postern.client("disconnect", check=False), "StateUnusable")
        postern.laptop.run("rm", "/run/small/fill")
        postern.client("connect")
        postern.await_online()
        assert fetches(postern)


def test_a_state_folder_that_became_read_only_keeps_the_connection_and_refuses_to_sign_out(postern: Postern) -> None:
    with stopped(postern):
        dns_before = postern.laptop.output("cat", "/etc/resolv.conf")
        postern.laptop.run("mkdir", "-p", "/run/turns")
        postern.laptop.run("mount", "-t", "tmpfs", "-o", "mode=700", "none", "/run/turns")
        postern.laptop.run("cp", "-a", f"{CLIENT_STATE}/.", "/run/turns/")
        start_daemon(postern, state="/run/turns")
        postern.await_online()
        # Over it and not a remount, which the daemon's open lock file prevents.
        postern.laptop.run("mount", "--bind", "-o", "ro", "/run/turns", "/run/turns")
        line = expect(postern.client("logout", check=False), "StateUnusable", "NotPermitted")
        assert "Read-only" in line
        assert postern.status_word() == "online" and fetches(postern)
        assert postern.laptop.output("cat", "/etc/resolv.conf") != dns_before
        postern.lab.stop("posternd")
        assert postern.laptop.output("cat", "/etc/resolv.conf") == dns_before


def test_an_enrolment_url_with_quotes_blanks_and_line_ends_works_and_a_broken_one_is_refused(postern: Postern) -> None:
    url = postern.admin("network", "show")["enrolment_url"]
    for bad in (f'"{url}', url.replace("/#", "\n/#"), url[:-3], "https://203.0.113 .10/", "''"):
        line = expect(postern.client("login", bad, check=False), "Usage")
        assert any(words in line for words in ("names no server", "no https URL", "digest")), line
    postern.client("logout")
    postern._network["enrolment_url"] = f' "{url}"\r\n'
    try:
        postern.login()
    finally:
        postern._network["enrolment_url"] = url
    postern.await_online()


def test_a_server_that_moved_is_found_by_its_name_without_a_restart(postern: Postern) -> None:
    """The last test here: afterwards the server is elsewhere."""
    name = topology.SERVER_NAME
    postern.laptop.run("sh", "-c", f"echo {topology.SERVER} {name} >>/etc/hosts")
    postern.client("logout")
    url = postern.admin("network", "show")["enrolment_url"]
    postern._network["enrolment_url"] = url.replace(topology.SERVER, name)
    postern.login()
    postern.await_online()
    assert postern.status()["server"]["addresses"] == [topology.SERVER]
    pid = postern.lab.processes()["posternd"]["pid"]
    postern.server.run("ip", "addr", "add", f"{MOVED}/24", "dev", "eth0")
    # The address of before leads nowhere from here on; what runs through it ends.
    drop = f"table inet gone {{\nchain in {{\ntype filter hook input priority filter;\nip daddr {topology.SERVER} drop\n}}\n}}\n"
    postern.server.run("nft", "-f", "-", text=drop)
    postern.laptop.run("sh", "-c", f"sed 's/^{topology.SERVER} /{MOVED} /' /etc/hosts >/run/h && cat /run/h >/etc/hosts")
    await_true("it is looked up", lambda: postern.status()["server"]["addresses"] == [MOVED], 90)
    await_true("the channel is up", lambda: "controller is away" not in postern.status()["reason"], 60)
    checks = postern.client("doctor", check=False).stdout
    assert f"ok   server-tcp: {name}/tcp answers" in checks
    assert postern.lab.processes()["posternd"]["pid"] == pid
    assert postern.lab.log("posternd").count("The server has moved") == 1
