"""The packages of `./dev dist` on other distributions: installed, used for the whole journey, upgraded, removed.

Twice: on hosts with Arch's layout, whose glibc the programs use, and on hosts without any C library that could be used,
where they bring their own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import packages, services
from lab.packages import DIST, PARTS, PackagedPostern, Root
from lab.paths import REPO
from lab.postern import CLIENT_STATE, SERVER_STATE
from lab.test_bad_input import EXIT_CODES
from lab.testbed import Lab, await_true, scratch_run_dir

SIZE_MAX = 25_000_000


@pytest.fixture(scope="module")
def dist() -> Path:
    packages.build()
    return DIST


@pytest.fixture(scope="module", params=["arch", "bare"])
def world(request: pytest.FixtureRequest, dist: Path) -> Iterator[PackagedPostern]:
    """A lab of its own, in which everything of Postern comes from packages. `bare`: no C library on the hosts."""
    lab = Lab.start(scratch_run_dir("test"))
    try:
        services.start_dns(lab)
        services.start_nginx(lab)
        running = PackagedPostern(lab, libc=request.param == "arch")
        running.start_all()
        yield running
    finally:
        lab.down()
        if not request.session.testsfailed:
            shutil.rmtree(lab.run_dir, ignore_errors=True)


def _fetch(world: PackagedPostern) -> str:
    return world.laptop.output("curl", "-sS", "-m", "20", "http://nginx.home.lan/nonce")


def _is_bare(world: PackagedPostern) -> bool:
    return not (world.roots["client"].path / "usr/lib/libc.so.6").exists()


def test_a_page_behind_the_connector_is_reached(world: PackagedPostern) -> None:
    assert _fetch(world) == world.lab.nonce
    inside = world.roots["client"].run("wget", "-q", "-O", "-", "http://web.internal/nonce").stdout
    assert inside == world.lab.nonce


def test_only_files_of_the_packages_are_used(world: PackagedPostern) -> None:
    for process, part in (("postern-server", "server"), ("postern-connector", "connector"), ("posternd", "client")):
        home = f"/usr/local/lib/postern-{part}/"
        others = {path for path in world.mapped_files(process) if not path.startswith((home, "/dev/", "/memfd"))}
        others = {path for path in others if not path.startswith(f"{SERVER_STATE}/")}
        expected = set() if _is_bare(world) else {f"/usr/lib/{name}" for name in packages.GLIBC}
        assert others == expected, process


def test_the_installation_says_which_c_library_it_uses_and_what_it_touched(world: PackagedPostern) -> None:
    for part, printed in world.printed.items():
        assert ("the package's own" if _is_bare(world) else "the host's") in printed
        home = world.roots[part].path
        for line in printed.splitlines():
            words = line.split()
            if words[0] == "installed":
                assert (home / words[1].lstrip("/")).exists(), line
        assert f"installed /usr/local/bin/{'posternd' if part == 'client' else 'postern-' + part}\n" in printed


def test_a_package_brings_manual_pages_licences_and_its_texts(world: PackagedPostern) -> None:
    pages = {"server": "man8/postern-server.8", "connector": "man8/postern-connector.8", "client": "man1/postern.1"}
    for part, page in pages.items():
        share = world.roots[part].path / "usr/local/share"
        assert (share / "man" / page).read_text("utf-8").startswith('.\\" Made from the option tables.')
        notice = (share / "doc" / f"postern-{part}" / "NOTICE").read_text("utf-8")
        home = world.roots[part].path / f"usr/local/lib/postern-{part}"
        for library in (home / "lib").iterdir():
            assert f"lib/{library.name}" in notice
        for licence in ("openssl", "boost1.81", "glibc", "gcc-12", "Apache License"):
            assert licence in notice


def test_names_of_users_and_groups_are_found(world: PackagedPostern) -> None:
    """The daemon knows the members of the group postern by getgrnam; the root has no Debian to ask."""
    root = str(world.roots["client"].path)
    for group, code in ((992, 0), (1000, EXIT_CODES["NotPermitted"])):
        connect = ["chroot", f"--userspec=1000:{group}", root, "/usr/local/bin/postern", "connect"]
        assert world.roots["client"].host.run(*connect, check=False).returncode == code


def test_a_killed_daemon_leaves_the_resolver_as_it_was(world: PackagedPostern) -> None:
    resolv_conf = world.roots["client"].path / "etc/resolv.conf"
    assert "192.168.77.1" not in resolv_conf.read_text("ascii")
    world.kill_client()
    before = "nameserver 192.168.77.1\n"
    await_true("the watchdog has put it back", lambda: resolv_conf.read_text("ascii") == before, 10)
    world.start_client()
    world.await_online()
    assert _fetch(world) == world.lab.nonce


def test_running_the_installation_again_upgrades_under_running_programs(world: PackagedPostern) -> None:
    config = world.roots["server"].path / "etc/postern/server.toml"
    config.write_text(config.read_text("ascii") + '\nlog_level = "info"\n', "ascii")
    for part in PARTS:
        home = world.roots[part].path / f"usr/local/lib/postern-{part}"
        (home / "lib/libold.so.1").write_text("of an older version", "ascii")
        printed = world.install(part)
        assert not (home / "lib/libold.so.1").exists()
        assert not home.with_name(home.name + ".old").exists()
        assert "kept      /etc/postern/" in printed
    assert 'log_level = "info"' in config.read_text("ascii").splitlines()
    assert _fetch(world) == world.lab.nonce
    world.lab.stop("postern-connector")
    world.serve_connector()
    ask = ["curl", "-sS", "-m", "5", "http://nginx.home.lan/nonce"]
    await_true("the new programs work", lambda: world.laptop.run(*ask, check=False).stdout == world.lab.nonce, 20)


def test_removing_keeps_the_state_and_purging_does_not(world: PackagedPostern) -> None:
    """The last test of a world: it ends the client and the server."""
    for process in ("posternd", "postern-server"):
        world.lab.stop(process)
    for part, state in (("client", CLIENT_STATE), ("server", SERVER_STATE)):
        root = world.roots[part]
        config = {"client": "client.toml", "server": "server.toml"}[part]
        folder = f"/tmp/{packages.archive(part).name.removesuffix('.tar.gz')}"
        printed = root.run(f"{folder}/install.sh", "--uninstall").stdout
        assert not list((root.path / "usr/local").rglob("*postern*"))
        assert f"{state}" in printed and (root.path / state[1:]).is_dir()
        assert (root.path / "etc/postern" / config).exists()
        again = root.run(f"{folder}/install.sh", "--uninstall", check=False)
        assert (again.returncode, again.stderr.count("\n")) == (1, 1)
        root.run(f"{folder}/install.sh")
        root.run(f"{folder}/install.sh", "--uninstall", "--purge")
        assert not (root.path / state[1:]).exists()
        assert not (root.path / "etc/postern").exists()


# --- without a whole journey -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(dist: Path) -> Iterator[Root]:
    lab = Lab.start(scratch_run_dir("test"))
    try:
        yield Root(lab, "server", libc=True)
    finally:
        lab.down()
        shutil.rmtree(lab.run_dir, ignore_errors=True)


def test_packages_are_small(dist: Path) -> None:
    for part in PARTS:
        assert packages.archive(part).stat().st_size <= SIZE_MAX


def test_the_same_commit_gives_the_same_bytes(dist: Path) -> None:
    before = (dist / "SHA256SUMS").read_text("ascii")
    for part in PARTS:
        assert hashlib.sha256(packages.archive(part).read_bytes()).hexdigest() in before
    elsewhere = {**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    again = ["sh", "-c", f"umask 077 && exec {REPO}/tools/dist"]
    subprocess.run(again, env=elsewhere, check=True, capture_output=True)
    assert (dist / "SHA256SUMS").read_text("ascii") == before


@pytest.mark.parametrize("libc", ["own", "host"])
def test_another_prefix_works_with_either_c_library(root: Root, libc: str) -> None:
    folder = root.unpack("client")
    prefix = f"/opt/a place/{libc}"
    root.run(f"{folder}/install.sh", "--prefix", prefix, "--libc", libc)
    for program in ("postern", "posternd"):
        assert root.run(f"{prefix}/bin/{program}", "--version").stdout.startswith(program)
    assert (root.path / prefix[1:] / "lib/postern-client/libc").exists() == (libc == "own")
    root.run(f"{folder}/install.sh", "--uninstall", "--purge", "--prefix", prefix)
    assert not list((root.path / "opt").rglob("*postern*"))


def test_a_user_can_install_below_his_own_folder_and_nothing_else_is_touched(root: Root) -> None:
    folder = root.unpack("connector")
    root.run("sh", "-c", "mkdir -p /home/me && chown 1000:1000 /home/me")
    as_user = ["chroot", "--userspec=1000:1000", str(root.path), f"{folder}/install.sh"]
    assert root.host.run(*as_user, check=False).returncode == 1
    root.host.run(*as_user, "--prefix", "/home/me")
    assert root.run("/home/me/bin/postern-connector", "--version").stdout.startswith("postern-connector")
    assert not (root.path / "etc/postern").exists()


def _refused(root: Root, *argv: str, word: str) -> None:
    result = root.run(*argv, check=False)
    assert result.returncode != 0
    assert word in result.stderr.splitlines()[0]
    assert not list((root.path / "usr/local").rglob("*postern*"))


def test_what_cannot_work_is_refused_before_anything_changes(root: Root) -> None:
    folder = root.unpack("server")
    (root.path / "usr/local").mkdir(exist_ok=True)
    # The kernel tells such a process that the machine is an i686.
    _refused(root, "linux32", f"{folder}/install.sh", word="x86_64, and this is i686")
    _refused(root, f"{folder}/install.sh", "--prefix", "relative", word="absolute")
    _refused(root, f"{folder}/install.sh", "--nonsense", word="--nonsense")
    _refused(root, f"{folder}/install.sh", "--purge", word="--uninstall")
    _refused(root, f"{folder}/install.sh", "--prefix", "/" + "x" * 250, "--libc", "own", word="too long")
    assert not list(root.path.glob("xxx*"))
    library = next((root.path / folder[1:] / "lib").glob("libcrypto*"))
    library.write_bytes(library.read_bytes()[:-1] + b"x")
    _refused(root, f"{folder}/install.sh", word="damaged")
