"""What the programs hold after work: a gibibyte each way, then quiet, then back to a small size."""

from __future__ import annotations

import re

import pytest

from lab import services
from lab.postern import Postern
from lab.testbed import Lab, LabError, await_true

MEBIBYTE = 1 << 20
QUIET_SECONDS = 60.0
TRANSFER_SECONDS = 120.0
BOUNDS = {
    "posternd": {"RssAnon": 6 * MEBIBYTE, "VmRSS": 20 * MEBIBYTE},
    "postern-connector": {"RssAnon": 6 * MEBIBYTE, "VmRSS": 20 * MEBIBYTE},
    "postern-server": {"VmRSS": 60 * MEBIBYTE},
}


def memory_of(lab: Lab, program: str) -> dict[str, int]:
    """Bytes of each Vm and Rss entry of the program's status."""
    text = lab.host("internet").output("cat", f"/proc/{lab.processes()[program]['pid']}/status")
    return {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"^((?:Vm|Rss)\w+):\s+(\d+) kB", text, re.M)}


def _too_large(lab: Lab) -> list[str]:
    found = []
    for program, bounds in BOUNDS.items():
        memory = memory_of(lab, program)
        large = [what for what, most in bounds.items() if memory[what] > most]
        found += [f"{program} {what} {memory[what] / MEBIBYTE:.1f} MiB" for what in large]
    return found


@pytest.mark.parametrize("way", ["down", "up"])
def test_a_minute_after_a_gibibyte_everything_is_small_again(lab: Lab, postern: Postern, way: str) -> None:
    url = "http://nginx.home.lan"
    transfers = {
        "down": ["curl", "-sSf", "-o", "/dev/null", f"{url}/big"],
        "up": ["curl", "-sSf", "-T", str(services.big_file().path), f"{url}/upload/memory"],
    }
    postern.laptop.run(*transfers[way], seconds=TRANSFER_SECONDS)
    try:
        await_true("all programs are small again", lambda: not _too_large(lab), QUIET_SECONDS, every=0.5)
    except LabError:
        assert _too_large(lab) == []
