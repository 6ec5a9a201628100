"""The commands of README's "By hand", word for word, with the programs as they come from the build."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from lab import services
from lab.guide import Reader, blocks
from lab.hosts import environment
from lab.paths import REPO
from lab.test_guide import PROXMOX
from lab.testbed import Lab, scratch_run_dir


@pytest.fixture
def bare_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab.start(scratch_run_dir("test"))
    try:
        services.start_dns(lab)
        services.start_nginx(lab)
        yield lab
    finally:
        lab.down()
        if not request.session.testsfailed:
            shutil.rmtree(lab.run_dir, ignore_errors=True)


def test_the_commands_of_the_readme_lead_to_the_page(bare_lab: Lab) -> None:
    bare_lab.host("nginx").run("sh", "-ec", PROXMOX)
    hosts = {name: bare_lab.host(name) for name in ("server", "connector", "laptop")}
    reader = Reader(bare_lab, hosts, environment()["PATH"])
    for block in blocks(REPO / "README.md"):
        reader.follow(block)
    page = bare_lab.host("laptop").output("curl", "-sSk", "-m", "20", "https://proxmox.home:8006/nonce")
    assert page == bare_lab.nonce
