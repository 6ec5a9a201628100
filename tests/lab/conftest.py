"""Fixtures: one running lab per test module, thrown away with the module."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from lab import nat, services
from lab.postern import PROGRAMS, Postern
from lab.testbed import Lab, LabError, scratch_run_dir

LOG_TAIL = 1500
"""Characters of each program's log that the report of a failed test shows."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Adds what Postern's programs said last to the report of a failed test: the lab is gone when somebody reads it."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.passed or report.skipped:
        return
    lab = getattr(item, "funcargs", {}).get("lab")
    postern = getattr(item, "funcargs", {}).get("postern")
    if isinstance(postern, Postern):
        lab = postern.lab
        try:
            report.sections.append(("postern status --json", postern.client("status", "--json", check=False).stdout))
        except LabError as error:
            report.sections.append(("postern status --json", str(error)))
    if isinstance(lab, Lab):
        for name in PROGRAMS:
            if log := lab.log(name):
                report.sections.append((f"end of the log of {name}", log[-LOG_TAIL:]))


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab with all services. Its folder with the logs stays when a test of the session failed."""
    failed_before = request.session.testsfailed
    run_dir = scratch_run_dir("test")
    running = Lab.start(run_dir)
    try:
        services.start_all(running)
        yield running
    finally:
        running.down()
        if request.session.testsfailed == failed_before:
            shutil.rmtree(run_dir, ignore_errors=True)
        else:
            print(f"logs of this lab: {run_dir}/log")


@pytest.fixture(scope="module")
def postern(lab: Lab) -> Postern:
    """The real Postern in the lab: server, connector, and a laptop that is signed in and online."""
    running = Postern(lab)
    running.start_all()
    return running


@pytest.fixture
def clean(postern: Postern) -> Iterator[Postern]:
    """IPv4 only and plain routers on both sides, put back afterwards."""
    routers = [postern.lab.host("laptop-nat"), postern.lab.host("home-nat")]
    nat.set_ipv6(postern.lab, works=False)
    yield postern
    for router in routers:
        nat.set_kind(router, nat.PLAIN)
        nat.unblock_udp(router)
    nat.set_ipv6(postern.lab, works=True)
