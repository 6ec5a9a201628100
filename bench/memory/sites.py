"""Remote networks with a connector each: where one process may not have as many files as there shall be flows.

A connector needs a file for each flow, and machines allow a process some twenty thousand; the client needs none. So flows
are spread over connectors, over processes of the target and over processes that hold them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import session
from harness.subject import FLOW_PORTS, Subject
from lab.postern import CONNECTOR_USER, Postern
from lab.testbed import Lab, LabError, await_true, read_line
from lab.topology import POOL_NAME

FLOWS_MAX = 15_000
"""Of one site."""
_FILES_AT_REST = 200
"""Far more than a connector without flows has open."""


@dataclass(frozen=True)
class Site:
    address: str
    ports: str
    connector: str
    """Name of its process."""


def first(ours: Subject) -> Site:
    """The one that every lab with Postern has."""
    return Site(ours.address, FLOW_PORTS, "postern-connector")


def add(lab: Lab, number: int) -> Site:
    """One more remote network, connector, resource and target. Returns when the laptop knows the resource."""
    postern = Postern(lab)
    name, ports = f"site{number}", f"{7000 + 10 * number}-{7007 + 10 * number}"
    host_name = f"{name}.{POOL_NAME}"
    lab.host("nginx").spawn(f"target-{name}", str(session.build("flow_load")), "serve", ports)
    postern.admin("remote-network", "add", name)
    postern.admin("connector", "add", name, "--remote-network", name)
    _start_connector(postern, name, 9999 - number)
    postern.admin("resource", "add", name, "--remote-network", name, "--address", host_name, "--tcp", ports)
    postern.grant(name)
    address = await_true(f"the laptop knows {host_name}", lambda: postern.virtual_address(host_name), 20)
    return Site(address, ports, f"connector-{name}")


def _start_connector(postern: Postern, name: str, health_port: int) -> None:
    tokens = postern.admin("connector", "tokens", name)
    keys = ("network", "url", "access_token", "refresh_token")
    environment = {f"POSTERN_{key.upper()}": str(tokens[key]) for key in keys}
    environment |= {"POSTERN_HEALTH_PORT": str(health_port), "POSTERN_API_ENDPOINT": f"/tmp/{name}.sock"}
    postern.connector.spawn(f"connector-{name}", "postern-connector", env=environment, user=CONNECTOR_USER)
    await_true(f"the connector {name} is healthy", lambda: postern.connector_is_healthy(health_port), 20)


@contextmanager
def held(lab: Lab, sites: list[Site], flows: int) -> Iterator[None]:
    """So many idle flows while the block runs, each site full before the next one begins."""
    with ExitStack() as stack:
        for number, site in enumerate(sites):
            share = min(FLOWS_MAX, flows - number * FLOWS_MAX)
            if share > 0:
                stack.enter_context(_held_at(lab, site, share))
        yield


def await_ended(lab: Lab, sites: list[Site]) -> None:
    """Until client and connectors have taken note: those that are still ending count against the bounds of new ones."""
    postern = Postern(lab)
    await_true("the client has no flow left", lambda: postern.status()["flows"] == 0, 60, every=0.2)
    running = lab.processes()
    folders = [Path(f"/proc/{lab.init_pid}/root/proc/{running[site.connector]['pid']}/fd") for site in sites]
    few = lambda: max(len(os.listdir(folder)) for folder in folders) < _FILES_AT_REST  # noqa: E731
    await_true("the connectors have closed their sockets", few, 60, every=0.2)


@contextmanager
def _held_at(lab: Lab, site: Site, flows: int) -> Iterator[None]:
    argv = [str(session.build("flow_load")), "hold", site.address, site.ports, str(flows)]
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    process = lab.host("laptop").popen(*argv, **pipes)
    try:
        said = read_line(process, 120)
        if not said.startswith("held"):
            process.kill()
            errors = process.stderr.read() if process.stderr else ""
            raise LabError(f"flow_load did not hold {flows} flows at {json.dumps(site.address)}: {said.strip()} {errors}")
        yield
    finally:
        if process.stdin:
            process.stdin.close()
        process.wait(60)
