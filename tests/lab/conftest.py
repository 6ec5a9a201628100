"""Fixtures: one running lab per test module, thrown away with the module."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from lab import services
from lab.postern import Postern
from lab.testbed import Lab, scratch_run_dir


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
