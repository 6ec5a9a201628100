"""docs/guide/install.md, followed word for word on hosts with systemd and the packages, and nothing of a build.

Once for each way in which a server proves itself. What the guide promises is checked afterwards: the services run with
the rights they need and no others, and leave the machine as it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import packages, services
from lab.authority import Authority
from lab.guide import Reader, blocks
from lab.paths import REPO
from lab.systemd import SystemdHost
from lab.test_bad_input import EXIT_CODES
from lab.testbed import Lab, await_true, scratch_run_dir
from lab.topology import SERVER_NAME

GUIDE = REPO / "docs" / "guide" / "install.md"
LIVE = f"/etc/letsencrypt/live/{SERVER_NAME}"
PROXMOX = """
ip addr add 192.168.1.100/24 dev eth0
nft -f - <<'END'
table ip proxmox {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    ip daddr 192.168.1.100 tcp dport 8006 redirect to :8443
  }
}
END
"""


@dataclass
class Followed:
    """What is there once somebody has followed the guide to its end, but for removing."""

    lab: Lab
    hosts: dict[str, SystemdHost]
    reader: Reader
    resolv_conf: str


def _prepare(lab: Lab, variant: str) -> tuple[dict[str, SystemdHost], str]:
    """Hosts with systemd, the packages, and what the guide takes for granted; and what browsers trust."""
    hosts = {name: SystemdHost(lab, name) for name in ("server", "connector", "laptop")}
    for part, name in packages.PARTS.items():
        hosts[name].run("cp", str(packages.archive(part)), "/run/home")
    hosts["laptop"].run("useradd", "-M", "me")
    lab.host("nginx").run("sh", "-ec", PROXMOX)
    if variant == "own":
        return hosts, ""
    authority = Authority(lab)
    authority.be_trusted(lab, "laptop", "connector")
    cert, key = authority.issue("live", SERVER_NAME)
    hosts["server"].run("install", "-d", "-m", "700", LIVE)
    hosts["server"].run("install", "-m", "600", cert, f"{LIVE}/fullchain.pem")
    hosts["server"].run("install", "-m", "600", key, f"{LIVE}/privkey.pem")
    return hosts, authority.pem


@pytest.fixture(scope="module", params=["own", "public"])
def followed(request: pytest.FixtureRequest) -> Iterator[Followed]:
    packages.build()
    lab = Lab.start(scratch_run_dir("test"))
    try:
        services.start_dns(lab)
        services.start_nginx(lab)
        hosts, ca_pem = _prepare(lab, request.param)
        reader = Reader(lab, hosts, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", ca_pem)
        world = Followed(lab, hosts, reader, hosts["laptop"].output("cat", "/etc/resolv.conf"))
        for block in blocks(GUIDE):
            if block.last or block.variant not in ("", request.param):
                continue
            reader.follow(block)
        yield world
        for host in hosts.values():
            host.power_off()
    finally:
        lab.down()
        if not request.session.testsfailed:
            shutil.rmtree(lab.run_dir, ignore_errors=True)


def _capabilities(host: SystemdHost, unit: str) -> tuple[int, int]:
    """User id and effective capabilities of a running service."""
    status = host.output("cat", f"/proc/{host.main_pid(unit)}/status")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(fields["Uid"].split()[0]), int(fields["CapEff"], 16)


def test_the_page_of_the_guide_is_reached(followed: Followed) -> None:
    page = followed.hosts["laptop"].output("curl", "-sSk", "-m", "20", "https://proxmox.home:8006/nonce")
    assert page == followed.lab.nonce


def test_services_run_with_the_rights_they_need_and_no_others(followed: Followed) -> None:
    net_bind_service, net_admin = 1 << 10, 1 << 12
    user, rights = _capabilities(followed.hosts["server"], "postern-server")
    assert user == int(followed.hosts["server"].output("id", "-u", "postern-server")) != 0
    assert rights == net_bind_service
    user, rights = _capabilities(followed.hosts["connector"], "postern-connector")
    assert user >= 61184 and rights == 0  # the range of DynamicUser=
    user, rights = _capabilities(followed.hosts["laptop"], "posternd")
    assert user == 0 and rights & net_admin and rights.bit_count() == 4


def test_secrets_are_readable_by_their_owner_alone(followed: Followed) -> None:
    modes = followed.hosts["connector"].output("stat", "-c", "%a %U", "/etc/postern/connector.env")
    assert modes == "600 root"
    state = "/var/lib/postern-server"
    for path, mode in ((state, "700"), (f"{state}/master.key", "600")):
        assert followed.hosts["server"].output("stat", "-c", "%a %U", path) == f"{mode} postern-server"
    assert followed.hosts["laptop"].output("stat", "-c", "%a %U", "/var/lib/postern") == "700 root"


def test_members_of_the_group_need_no_sudo(followed: Followed) -> None:
    laptop = followed.hosts["laptop"]
    as_me = ["setpriv", "--reuid=me", "--regid=me", "--init-groups", "/usr/local/bin/postern"]
    laptop.run(*as_me, "connect")
    stranger = ["setpriv", "--reuid=nobody", "--clear-groups", "/usr/local/bin/postern"]
    assert "proxmox" in laptop.output(*stranger, "resources")
    assert laptop.run(*stranger, "connect", check=False).returncode == EXIT_CODES["NotPermitted"]


def test_logs_are_in_the_journal(followed: Followed) -> None:
    assert "The server is ready" in followed.hosts["server"].log_of("postern-server")
    assert "Connected to Postern network: home" in followed.hosts["connector"].log_of("postern-connector")


def test_manual_pages_are_found(followed: Followed) -> None:
    pages = (("server", "8/postern-server.8"), ("connector", "8/postern-connector.8"), ("laptop", "1/postern.1"))
    for name, page in pages:
        followed.hosts[name].run("test", "-s", f"/usr/local/share/man/man{page}")


def test_a_killed_daemon_is_started_again_and_still_works(followed: Followed) -> None:
    laptop = followed.hosts["laptop"]
    before = laptop.main_pid("posternd")
    laptop.run("kill", "-9", str(before))
    await_true("systemd has started it again", lambda: laptop.main_pid("posternd") not in (0, before), 20)
    ask = ["curl", "-sSk", "-m", "5", "https://proxmox.home:8006/nonce"]
    await_true("the page is back", lambda: laptop.run(*ask, check=False).stdout == followed.lab.nonce, 30)


def test_stopping_the_daemon_puts_the_resolver_back(followed: Followed) -> None:
    laptop = followed.hosts["laptop"]
    assert laptop.output("cat", "/etc/resolv.conf") != followed.resolv_conf
    laptop.run("systemctl", "stop", "posternd")
    assert laptop.output("cat", "/etc/resolv.conf") == followed.resolv_conf
    laptop.run("systemctl", "start", "posternd")


def test_a_power_loss_is_put_right_at_boot_also_where_the_daemon_does_not_start(followed: Followed) -> None:
    laptop = followed.hosts["laptop"]
    changed = lambda: laptop.output("cat", "/etc/resolv.conf") != followed.resolv_conf  # noqa: E731
    await_true("the daemon has changed DNS", changed, 30)
    # Everything of the service at once, the watchdog too, and nothing of ExecStopPost: as when the power goes.
    laptop.run("systemctl", "mask", "--runtime", "--now", "posternd-restore")
    laptop.run("sh", "-c", "cp -a /var/lib/postern /run/journal && cp -a /etc/resolv.conf /run/resolv.conf")
    laptop.run("systemctl", "stop", "posternd")
    laptop.run("sh", "-c", "cp -a /run/journal/. /var/lib/postern/ && cp -a /run/resolv.conf /etc/resolv.conf")
    assert changed()
    laptop.run("systemctl", "unmask", "--runtime", "posternd-restore")
    assert laptop.output("systemctl", "is-enabled", "posternd-restore") == "enabled"
    laptop.run("systemctl", "start", "posternd-restore")
    assert not changed()
    laptop.run("systemctl", "start", "posternd")


def test_a_connector_whose_tokens_were_replaced_is_not_started_over_and_over(followed: Followed) -> None:
    server, connector = followed.hosts["server"], followed.hosts["connector"]
    server.run("/usr/local/bin/postern-server", "admin", "connector", "tokens", "attic")
    failed = ["systemctl", "is-failed", "postern-connector"]
    await_true("it has ended", lambda: connector.run(*failed, check=False).stdout.strip() == "failed", 20)
    shown = connector.output("systemctl", "show", "-p", "ExecMainStatus,NRestarts", "postern-connector").split()
    assert sorted(shown) == ["ExecMainStatus=3", "NRestarts=0"]


def test_a_server_that_is_killed_is_started_again(followed: Followed) -> None:
    server = followed.hosts["server"]
    before = server.main_pid("postern-server")
    server.run("kill", "-9", str(before))
    show = ["/usr/local/bin/postern-server", "admin", "--json", "network", "show"]
    await_true("it answers again", lambda: server.run(*show, check=False).returncode == 0, 20)
    assert server.main_pid("postern-server") != before


def test_what_the_guide_says_about_removing_is_so(followed: Followed) -> None:
    """The last test of a world."""
    (block,) = [block for block in blocks(GUIDE) if block.last]
    followed.reader.printed = ""
    followed.reader.follow(block)
    laptop = followed.hosts["laptop"]
    assert "kept      /etc/postern and /var/lib/postern" in followed.reader.printed
    assert laptop.output("cat", "/etc/resolv.conf") == followed.resolv_conf
    assert laptop.run("systemctl", "cat", "posternd", check=False).returncode != 0
    assert laptop.output("find", "/usr/local", "-name", "*postern*") == ""
