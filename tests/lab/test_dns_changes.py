"""The laptop's DNS changes while Postern is connected: what others do to it, and a server that moves."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from lab import name_services, probes, services
from lab.name_services import FileBesideBus, Ipv6File, NetworkManager, Openresolv, PlainFile, Resolved
from lab.postern import Postern
from lab.testbed import Lab, await_true
from lab.topology import INTERNET, SERVER, SERVER_NAME

SOON_SECONDS = 5.0
AT_ONCE_SECONDS = 1.5
"""Well below the regular looks of each 30 s, above the 0.5 s for which a burst of changes is waited out."""
RESOURCE = "nginx.home.lan"
MOVE_SECONDS = 45.0
MOVED = "203.0.113.11"
CHANGED = "The host's network has changed"


@pytest.fixture(scope="module")
def servers(lab: Lab) -> Postern:
    """Everything but the laptop; the server is known by name."""
    postern = Postern(lab)
    postern.server_place = ("--domain", SERVER_NAME)
    postern.init_server()
    postern.serve()
    postern.create_model()
    postern.start_connector()
    return postern


def _dns(postern: Postern) -> dict[str, Any]:
    answer: dict[str, Any] = postern.status()["dns"]
    return answer


def _await_dns(postern: Postern, seconds: float = SOON_SECONDS, **wanted: Any) -> None:
    def is_so() -> bool:
        dns = _dns(postern)
        return all(dns[key] == value for key, value in wanted.items())

    await_true(f"the status of DNS has {wanted}", is_so, seconds)


def _sees(postern: Postern, name: str = RESOURCE) -> None:
    await_true(f"{name} is found", lambda: name_services.sees_resource(postern, name), SOON_SECONDS)


def test_a_file_that_another_program_writes_is_the_new_original_at_once(servers: Postern) -> None:
    service = PlainFile(servers.lab)
    name_services.make_laptop(servers, service)
    _sees(servers)
    servers.laptop.run("sh", "-c", f"echo nameserver {INTERNET} > /etc/new; mv /etc/new /etc/resolv.conf")
    _await_dns(servers, AT_ONCE_SECONDS, upstream=[INTERNET], state="installed")
    _sees(servers)
    assert service.has_booted()
    servers.kill_client()
    content = lambda: servers.laptop.output("cat", "/etc/resolv.conf")  # noqa: E731
    await_true("the other program's file is there", lambda: content() == f"nameserver {INTERNET}", SOON_SECONDS)


def test_addresses_of_the_host_are_noticed_at_once(servers: Postern) -> None:
    name_services.make_laptop(servers, PlainFile(servers.lab))
    for number in range(3):
        known = servers.lab.log("posternd").count(CHANGED)
        servers.laptop.run("ip", "addr", "add", f"10.77.{number}.1/24", "dev", "eth0")
        is_noticed = lambda known=known: servers.lab.log("posternd").count(CHANGED) > known  # noqa: E731
        await_true("the daemon has noticed", is_noticed, AT_ONCE_SECONDS)
    assert servers.lab.stop("posternd") == 0


# Read by openresolv at each start. It is held before the record is added, as a slow machine might.
_SLOW_OPENRESOLV = """
case "$*" in *-a*tun.*) touch /run/adding; while test ! -e /run/go-on; do sleep 0.02; done;; esac
"""


def test_a_daemon_killed_while_resolvconf_still_adds_its_record_leaves_none(servers: Postern) -> None:
    service = Openresolv(servers.lab)
    name_services.make_laptop(servers, service)
    _await_dns(servers, manager="resolvconf", state="installed")
    assert servers.lab.stop("posternd") == 0
    before = service.state()
    servers.laptop.run("sh", "-c", "cat >> /etc/resolvconf.conf", text=_SLOW_OPENRESOLV)
    servers.start_client()
    adds = ["test", "-e", "/run/adding"]
    await_true("the record is being added", lambda: servers.laptop.run(*adds, check=False).returncode == 0, 20.0)
    servers.kill_client()
    servers.laptop.run("touch", "/run/go-on")
    children = ["pgrep", "-f", "resolvconf|--watchdog"]
    ended = lambda: servers.laptop.run(*children, check=False).returncode == 1  # noqa: E731
    await_true("all of it has ended", ended, 20.0)
    assert service.state() == before


def test_systemd_resolved_that_lost_everything_is_told_again(servers: Postern) -> None:
    service = Resolved(servers.lab)
    name_services.make_laptop(servers, service)
    _await_dns(servers, manager="systemd-resolved", state="installed")
    service.stop_service()
    _await_dns(servers, state="failed")
    assert "systemd-resolved" in _dns(servers)["problem"]
    assert servers.laptop.output("readlink", "/etc/resolv.conf").endswith("stub-resolv.conf")
    servers.laptop.run("rm", "-rf", "/run/systemd/resolve")
    service.start()
    _await_dns(servers, manager="systemd-resolved", state="installed")
    _sees(servers)
    assert servers.lab.stop("posternd") == 0


def test_a_host_that_gets_systemd_resolved_meanwhile_is_changed_over(servers: Postern) -> None:
    service = Resolved(servers.lab)
    name_services.make_laptop(servers, FileBesideBus(servers.lab))
    _await_dns(servers, manager="file", split=False)
    service.install()  # its link takes the place of our file
    service.boot()
    _await_dns(servers, manager="systemd-resolved", split=True, state="installed")
    _sees(servers)
    servers.kill_client()
    await_true("the link has our server no more", lambda: "100.96." not in service.state(), SOON_SECONDS)
    assert servers.laptop.output("readlink", "/etc/resolv.conf").endswith("stub-resolv.conf")


def test_other_servers_and_a_restart_of_network_manager_are_followed(servers: Postern) -> None:
    service = NetworkManager(servers.lab)
    name_services.make_laptop(servers, service)
    _await_dns(servers, manager="NetworkManager", upstream=[name_services.UPSTREAM])
    servers.laptop.run("nmcli", "connection", "modify", "wired", "ipv4.dns", INTERNET)
    servers.laptop.run("nmcli", "connection", "up", "wired")
    _await_dns(servers, upstream=[INTERNET], state="installed")
    _sees(servers)
    service.stop_service()
    service.start()
    _await_dns(servers, upstream=[INTERNET], state="installed")
    _sees(servers)
    servers.kill_client()
    content = lambda: servers.laptop.output("cat", "/etc/resolv.conf").splitlines()  # noqa: E731
    await_true("its own server is back", lambda: content()[-1] == f"nameserver {INTERNET}", SOON_SECONDS)


def test_network_manager_that_died_first_leaves_the_file_to_us(servers: Postern) -> None:
    service = NetworkManager(servers.lab)
    name_services.make_laptop(servers, service)
    _await_dns(servers, manager="NetworkManager", state="installed")
    servers.lab.stop(service.log, signal.SIGKILL)
    servers.kill_client()
    content = lambda: servers.laptop.output("cat", "/etc/resolv.conf").splitlines()  # noqa: E731
    wanted = f"nameserver {name_services.UPSTREAM}"
    await_true("its own server is back", lambda: content()[-1] == wanted, SOON_SECONDS)


@pytest.mark.parametrize("kind", (PlainFile, Ipv6File, Resolved))
def test_a_server_that_moved_is_found_by_the_hosts_own_name_servers(servers: Postern, kind: type) -> None:
    """Its name is covered by a resource, so the host's DNS would lead to Postern itself."""
    name_services.make_laptop(servers, kind(servers.lab))
    servers.add_resource("all of it", "*.example.org", tcp="80")
    servers.grant("all of it")
    _sees(servers, "any.example.org")
    try:
        _move_server(servers, MOVED)
        await_true("the client is with the server again", lambda: _is_up(servers), MOVE_SECONDS)
        assert "The server has moved" in servers.lab.log("posternd")
        _sees(servers)
    finally:
        servers.admin("resource", "delete", "all of it")
        _move_server(servers, SERVER)
    assert servers.lab.stop("posternd") == 0


def _is_up(postern: Postern) -> bool:
    status = postern.status()
    return bool(status["state"] == "online" and not status["reason"])


def _move_server(postern: Postern, address: str) -> None:
    """The server gets another address, and the public DNS says so."""
    postern.kill_server()
    postern.server.run("ip", "addr", "flush", "dev", "eth0", "scope", "global")
    postern.server.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
    postern.server.run("ip", "route", "replace", "default", "via", INTERNET)
    postern.lab.stop("dns-internet")
    services.serve_public_dns(postern.lab, (address,))
    resolves = lambda: probes.addresses(postern.server, SERVER_NAME) == {address}  # noqa: E731
    await_true("the public DNS has the new address", resolves, SOON_SECONDS)
    postern.serve()
