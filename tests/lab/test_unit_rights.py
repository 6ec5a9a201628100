"""The rights that posternd.service leaves the daemon are enough for every owner of a laptop's DNS.

test_dns tries what the daemon does with each of them; here it does so as the real systemd starts it from its package:
most of the file system read-only, four capabilities, few system calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab import name_services, packages
from lab.name_services import NameService
from lab.postern import Postern
from lab.systemd import SystemdHost
from lab.testbed import Lab, await_true

SOON_SECONDS = 20.0
DROP_INS = "/run/systemd/system/posternd.service.d"
KINDS = (
    *(name_services.PlainFile, name_services.BindMount, name_services.Resolved),
    *(name_services.Openresolv, name_services.NetworkManager),
)


@pytest.fixture(scope="module")
def servers(lab: Lab) -> Postern:
    """Everything but the laptop."""
    packages.build()
    postern = Postern(lab)
    postern.init_server()
    postern.serve()
    postern.create_model()
    postern.start_connector()
    return postern


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def service(request: pytest.FixtureRequest, servers: Postern) -> NameService:
    """A new laptop of this kind."""
    service: NameService = request.param(servers.lab)
    servers.lab.reboot("laptop", package=service.package, wipe=True)
    service.install()
    service.boot()
    await_true("the laptop's own DNS works", service.has_booted, SOON_SECONDS)
    return service


@pytest.fixture
def laptop(servers: Postern, service: NameService) -> Iterator[SystemdHost]:
    """With systemd and the client's package."""
    host = SystemdHost(servers.lab, "laptop")
    host.run("cp", str(packages.archive("client")), "/run/home")
    host.run("sh", "-ec", "cd /run/home && tar -xzf *.tar.gz && ./postern-client-*/install.sh", seconds=60)
    yield host
    host.power_off()


def _works(servers: Postern) -> bool:
    asked = servers.laptop.run("curl", "-sS", "-m", "5", "http://nginx.home.lan/nonce", check=False)
    return asked.stdout.strip() == servers.lab.nonce


def _installed(servers: Postern) -> dict[str, Any]:
    """The daemon's report on DNS; a program that adds a record may still run when the first name is found."""
    dns: dict[str, Any] = servers.status()["dns"]
    return dns if dns["state"] == "installed" else {}


def _killed(laptop: SystemdHost) -> None:
    laptop.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "posternd")
    ended = ["systemctl", "is-failed", "posternd"]
    await_true("the service has ended", lambda: laptop.run(*ended, check=False).returncode == 0, SOON_SECONDS)
    assert laptop.main_pid("posternd") == 0


def test_the_service_changes_dns_and_puts_it_back(servers: Postern, service: NameService, laptop: SystemdHost) -> None:
    before = service.state()
    laptop.run("systemctl", "start", "posternd")
    servers.login()
    await_true("the resource is reached", lambda: _works(servers), SOON_SECONDS)
    dns = await_true("DNS is installed", lambda: _installed(servers), SOON_SECONDS)
    assert (dns["manager"], dns["problem"]) == (service.manager, ""), dns
    assert service.state() != before
    laptop.run("systemctl", "stop", "posternd")
    await_true("DNS is as before", lambda: service.state() == before, SOON_SECONDS)
    laptop.run("systemctl", "start", "posternd")
    await_true("the resource is reached again", lambda: _works(servers), SOON_SECONDS)
    # Not started again, so what puts DNS back is the watchdog, or systemd's ExecStopPost=.
    laptop.run("sh", "-c", f"mkdir -p {DROP_INS} && cat > {DROP_INS}/no-restart.conf", text="[Service]\nRestart=no\n")
    laptop.run("systemctl", "daemon-reload")
    _killed(laptop)
    await_true("DNS is as before", lambda: service.state() == before, SOON_SECONDS)
    laptop.run("systemctl", "start", "posternd")
    await_true("the resource is reached once more", lambda: _works(servers), SOON_SECONDS)
    # Of a service that is masked while it runs systemd forgets ExecStopPost= and KillMode=: with the daemon it ends all
    # that the daemon has started, and the watchdog, which does not let it, is alone.
    laptop.run("systemctl", "mask", "--runtime", "posternd")
    _killed(laptop)
    await_true("DNS is as before", lambda: service.state() == before, SOON_SECONDS)
