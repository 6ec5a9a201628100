"""What a process holds once that no longer changes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.accounting import memory_kb
from lab.testbed import Lab, await_true

PROCESSES = ("posternd", "postern-connector", "postern-server")


def rss_anon_kb(lab: Lab, names: Iterable[str]) -> dict[str, int]:
    running = lab.processes()
    inside = Path(f"/proc/{lab.init_pid}/root/proc")
    return {name: memory_kb(inside / str(running[name]["pid"]))[1] for name in names}


def rss_anon_kb_at_rest(lab: Lab, names: Iterable[str] = PROCESSES) -> dict[str, int]:
    """Once it is the same as half a second before."""
    wanted = list(names)
    seen: list[dict[str, int]] = [{}]

    def rests() -> bool:
        seen.append(rss_anon_kb(lab, wanted))
        return seen[-1] == seen[-2]

    await_true("memory has come to rest", rests, 60, every=0.5)
    return seen[-1]
