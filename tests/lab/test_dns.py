"""Each kind of owner of a laptop's DNS: used while connected, and as before after `kill -9` and after a power cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import name_services, probes
from lab.name_services import NameService
from lab.postern import CLIENT_STATE, Postern
from lab.testbed import Lab, await_true

SOON_SECONDS = 5.0
RESOURCE = "nginx.home.lan"
PUBLIC = "www.example.org"


@pytest.fixture(scope="module")
def servers(lab: Lab) -> Postern:
    """Everything but the laptop."""
    postern = Postern(lab)
    postern.init_server()
    postern.serve()
    postern.create_model()
    postern.start_connector()
    return postern


@pytest.fixture(scope="module", params=name_services.ALL, ids=lambda kind: kind.__name__)
def service(request: pytest.FixtureRequest, servers: Postern) -> NameService:
    """A new laptop of this kind, with Postern signed in but not running."""
    service: NameService = request.param(servers.lab)
    name_services.make_laptop(servers, service)
    assert servers.lab.stop("posternd") == 0
    return service


@pytest.fixture
def before(servers: Postern, service: NameService) -> Iterator[str]:
    """The laptop's DNS without Postern; at the end of the test too."""
    state = service.state()
    assert "100.96." not in state
    yield state
    if servers.lab.is_running("posternd"):
        servers.lab.stop("posternd")


def _connect(postern: Postern) -> None:
    postern.start_client()
    postern.await_online()
    await_true("resources have names", lambda: name_services.sees_resource(postern, RESOURCE), SOON_SECONDS)


def _fetches(postern: Postern) -> bool:
    asked = postern.laptop.run("curl", "-sS", "-m", "5", f"http://{RESOURCE}/nonce", check=False)
    return asked.stdout.strip() == postern.lab.nonce


def test_names_of_resources_and_all_others_are_found(servers: Postern, service: NameService, before: str) -> None:
    _connect(servers)
    assert service.state() != before
    assert _fetches(servers)
    assert probes.addresses(servers.laptop, "web.internal") != set()  # an alias
    assert probes.addresses(servers.laptop, PUBLIC) == {"203.0.113.1"}
    assert probes.addresses(servers.laptop, "nowhere.example.org") == set()
    dns = servers.status()["dns"]
    assert (dns["manager"], dns["state"], dns["problem"]) == (service.manager, "installed", "")
    assert dns["split"] == service.split
    assert dns["upstream"] == [name_services.UPSTREAM]
    assert service.manager == "file" or service.manager in servers.lab.log("posternd")


def test_a_new_resource_is_found_at_once_and_a_removed_one_is_not(servers: Postern, service: NameService, before: str) -> None:
    _connect(servers)
    assert probes.addresses(servers.laptop, "late.home.lan") == set()
    servers.add_resource("late", "late.home.lan", tcp="80")
    try:
        servers.grant("late")
        found = lambda: probes.addresses(servers.laptop, "late.home.lan") != set()  # noqa: E731
        await_true("the new name is found", found, SOON_SECONDS)
    finally:
        servers.admin("resource", "delete", "late")
    gone = lambda: probes.addresses(servers.laptop, "late.home.lan") == set()  # noqa: E731
    await_true("the removed one is not", gone, SOON_SECONDS)


def test_kill_9_of_the_daemon_leaves_dns_as_it_was(servers: Postern, service: NameService, before: str) -> None:
    _connect(servers)
    assert service.state() != before
    servers.kill_client()
    await_true("DNS is as before", lambda: service.state() == before, SOON_SECONDS)
    assert probes.addresses(servers.laptop, PUBLIC) != set()


def test_disconnecting_leaves_dns_as_it_was(servers: Postern, service: NameService, before: str) -> None:
    _connect(servers)
    servers.client("disconnect")
    try:
        assert service.state() == before
        assert servers.status()["dns"]["state"] == "off"
    finally:
        servers.client("connect")


def test_after_a_power_cut_the_boot_verb_makes_dns_as_it_was(servers: Postern, service: NameService, before: str) -> None:
    _power_cut(servers, service)
    if service.mounted_before_restore:
        service.boot()
    servers.laptop.run("posternd", "--restore", "--state", CLIENT_STATE)
    if not service.mounted_before_restore:
        service.boot()
    await_true("the laptop's own DNS works", service.has_booted, SOON_SECONDS)
    assert service.state() == before


def test_after_a_power_cut_the_start_of_the_daemon_does_the_same(servers: Postern, service: NameService, before: str) -> None:
    _power_cut(servers, service)
    service.boot()
    _connect(servers)
    assert _fetches(servers)
    assert servers.lab.stop("posternd") == 0
    await_true("DNS is as before", lambda: service.state() == before, SOON_SECONDS)


def _power_cut(servers: Postern, service: NameService) -> None:
    _connect(servers)
    was = servers.lab.send_signal("posternd", 0)
    assert was
    servers.lab.reboot("laptop", package=service.package)
    assert not servers.lab.is_running("posternd")
    if service.manager == "file":
        # Nobody has helped yet: what Postern wrote is still on the disk.
        left = servers.laptop.run("grep", "-rl", "Made by posternd", "/etc", "/var/lib/host", check=False)
        assert "resolv.conf" in left.stdout
