"""`postern doctor` on the laptop: each failure is really produced, and the line for it appears with its fix."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab import topology
from lab.postern import CLIENT_SOCKET, CLIENT_STATE, Postern
from lab.test_bad_input import EXIT_CODES
from lab.testbed import await_true

STRANGER = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "--"]
DOCTOR = ["postern", "--socket", CLIENT_SOCKET, "doctor"]


def doctor(postern: Postern, *before: str, words: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """The checks by their id; the exit code agrees with them."""
    result = postern.laptop.run(*before, *DOCTOR, "--json", *words, check=False, seconds=40)
    answer = json.loads(result.stdout)
    failed = [check for check in answer["checks"] if check["level"] == "fail"]
    assert answer["ok"] == (not failed)
    assert result.returncode == (EXIT_CODES["Failure"] if failed else 0), result
    for check in answer["checks"]:
        assert bool(check["fix"]) == (check["level"] != "ok"), check
    return {check["id"]: check for check in answer["checks"]}


def fails(postern: Postern) -> set[str]:
    return {name for name, check in doctor(postern).items() if check["level"] == "fail"}


@contextmanager
def rule(postern: Postern, match: str) -> Iterator[None]:
    """An nftables rule on the laptop that drops what it sends."""
    hook = "type filter hook output priority filter;"
    postern.laptop.run("nft", "-f", "-", text=f"table inet block {{\nchain out {{\n{hook}\n{match} drop\n}}\n}}\n")
    try:
        yield
    finally:
        postern.laptop.run("nft", "delete", "table", "inet", "block")


def test_a_healthy_laptop_has_no_failure_and_one_line_for_each_check(postern: Postern) -> None:
    checks = doctor(postern)
    assert {name for name, check in checks.items() if check["level"] != "ok"} == set()
    assert {"daemon", "tun", "mtu", "sign-in", "server-udp", "server-tcp", "clock", "dns", "routes"} <= set(checks)
    lines = postern.laptop.output(*DOCTOR).splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == list(checks)
    assert all(line.startswith("ok ") for line in lines)


def test_anybody_may_ask(postern: Postern) -> None:
    assert doctor(postern, *STRANGER)["server-udp"]["level"] == "ok"


def test_blocked_udp_is_said(postern: Postern) -> None:
    with rule(postern, "udp dport 443"):
        checks = doctor(postern)
        assert checks["server-udp"]["level"] == "fail"
        assert "443/udp" in checks["server-udp"]["fix"]
        assert checks["server-tcp"]["level"] == "ok"
    postern.await_online()
    await_true("the relay has bound again", lambda: doctor(postern)["server-udp"]["level"] == "ok", 60)


def test_blocked_tcp_is_said(postern: Postern) -> None:
    with rule(postern, "tcp dport 443"):
        checks = doctor(postern)
        assert checks["server-tcp"]["level"] == "fail"
        assert "in time" in checks["server-tcp"]["text"]
    await_true("all is well", lambda: not fails(postern), 60)


@pytest.mark.parametrize(("shift", "words"), [("+10 minutes", "ahead of"), ("-3 years", "behind")])
def test_a_clock_that_is_off_is_said(postern: Postern, shift: str, words: str) -> None:
    check = doctor(postern, "faketime", "-f", shift.replace(" minutes", "m").replace(" years", "y"))["clock"]
    assert check["level"] == "warn"
    assert words in check["text"]


def test_somebody_elses_resolv_conf_is_said(postern: Postern) -> None:
    """Mounted over the file, read-only, so that the daemon cannot put its own back."""
    postern.laptop.run("sh", "-c", f"echo nameserver {topology.INTERNET} >/run/other.conf")
    postern.laptop.run("mount", "--bind", "-o", "ro", "/run/other.conf", "/etc/resolv.conf")
    try:
        await_true("it is seen", lambda: "dns" in fails(postern), 10)
        assert topology.INTERNET in doctor(postern)["dns"]["text"]
        # The daemon looks at least every 30 s.
        ask = ("explain", "web.internal")
        await_true("explain says it", lambda: "names do not lead here" in postern.client(*ask).stdout, 40)
    finally:
        postern.laptop.run("umount", "/etc/resolv.conf")
    await_true("all is well", lambda: not fails(postern), 20)


def test_a_missing_route_and_a_changed_mtu_are_said(postern: Postern) -> None:
    route = postern.status()["host"]["range_v4"]
    postern.laptop.run("ip", "link", "set", "postern0", "mtu", "1400")
    assert doctor(postern)["mtu"]["level"] == "warn"
    postern.laptop.run("ip", "link", "set", "postern0", "mtu", "1500")
    postern.laptop.run("ip", "route", "del", route, "dev", "postern0")
    check = doctor(postern)["routes"]
    assert check["level"] == "fail" and route in check["text"]
    postern.client("disconnect")
    assert doctor(postern)["sign-in"]["level"] == "warn"
    postern.client("connect")
    postern.await_online()
    await_true("all is well", lambda: not fails(postern), 20)


def test_a_second_daemon_is_said(postern: Postern) -> None:
    other = ["--state", "/run/other-state", "--socket", "/run/other.sock", "--tun", "other0", "--resolv-conf", "none"]
    postern.laptop.spawn("other-posternd", "posternd", *other)
    await_true("it runs", lambda: "daemons" in doctor(postern), 10)
    assert doctor(postern)["daemons"]["level"] == "fail"
    postern.lab.stop("other-posternd")
    assert "daemons" not in doctor(postern)


def test_a_server_can_be_checked_by_its_url_before_anybody_signs_in(postern: Postern) -> None:
    url = postern.admin("network", "show")["enrolment_url"]
    assert doctor(postern, *STRANGER, words=(url,))["server-tcp"]["level"] == "ok"
    wrong = doctor(postern, words=(f"https://{topology.SERVER}/#ca={'A' * 43}",))["server-tcp"]
    assert wrong["level"] == "fail" and "enrolment URL" in wrong["fix"]
    bad = postern.client("doctor", "http://x", check=False)
    assert bad.returncode == EXIT_CODES["Usage"]


def test_without_the_daemon_it_is_still_of_use_and_a_missing_tun_is_said(postern: Postern) -> None:
    """The last test here: it kills the daemon."""
    postern.kill_client()
    checks = doctor(postern, words=("--state", CLIENT_STATE))
    assert checks["daemon"]["level"] == "fail" and "systemctl start" in checks["daemon"]["fix"]
    assert checks["server-udp"]["level"] == checks["server-tcp"]["level"] == checks["sign-in"]["level"] == "ok"
    alone = doctor(postern, *STRANGER)
    assert alone["server"]["level"] == "warn" and "root" in alone["server"]["fix"]
    hide = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh"]
    missing = doctor(postern, *hide)
    assert missing["tun"]["level"] == "fail" and "modprobe tun" in missing["tun"]["fix"]
    postern.start_client()
    postern.await_online()
    await_true("all is well", lambda: not fails(postern), 20)
