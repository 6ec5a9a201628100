"""What a measurement cost: CPU and memory of the lab's processes, how busy the machine was, and with whose work.

Foreign CPU is what processes outside the lab used, those of other labs too. It is the growth of own plus
waited-for-children time summed over all of them: a child that ends hands its time to its parent, so the sum also catches
a compiler that came and went. Kernel threads are left out because they do the lab's packet work, and this process because it waits for the lab's.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from lab.testbed import Lab

_TICKS = os.sysconf("SC_CLK_TCK")
_PF_KTHREAD = 0x00200000
_PROC = Path("/proc")


@dataclass(frozen=True)
class Cost:
    cpu_s: dict[str, float]
    """CPU seconds, user and system, per label."""
    machine_busy: float
    """Share of the machine's CPU time that was not idle, 0 to 1."""
    foreign_cpu: float
    """Share of the machine's CPU time used by processes outside the lab or taken by the hypervisor, 0 to 1."""
    rss_kb: dict[str, int]
    rss_anon_kb: dict[str, int]


class Meter:
    """Measures from its creation to `stop`."""

    def __init__(self, lab: Lab, processes: dict[str, str]) -> None:
        running = lab.processes()
        inside = Path(f"/proc/{lab.init_pid}/root/proc")
        self._folders = {label: inside / str(running[name]["pid"]) for label, name in processes.items()}
        self._cpu = {label: _cpu_ticks(folder) for label, folder in self._folders.items()}
        self._lab = lab
        self._foreign = foreign_ticks(lab)
        self._machine = _machine_ticks()
        self._started = time.monotonic()

    def stop(self) -> Cost:
        wall = time.monotonic() - self._started
        capacity = wall * _TICKS * (os.cpu_count() or 1)
        before, after = self._machine, _machine_ticks()
        total, idle, stolen = (now - then for now, then in zip(after, before, strict=True))
        foreign = growth(self._foreign, foreign_ticks(self._lab)) + stolen
        used = {label: (_cpu_ticks(folder) - self._cpu[label]) / _TICKS for label, folder in self._folders.items()}
        memory = {label: memory_kb(folder) for label, folder in self._folders.items()}
        return Cost(
            cpu_s=used,
            machine_busy=1 - idle / max(1, total),
            foreign_cpu=foreign / capacity,
            rss_kb={label: rss for label, (rss, _) in memory.items()},
            rss_anon_kb={label: anon for label, (_, anon) in memory.items()},
        )


def memory_kb(folder: Path) -> tuple[int, int]:
    """(VmRSS, RssAnon) of the process whose /proc folder this is."""
    found = {}
    for line in (folder / "status").read_text("utf-8").splitlines():
        key, _, value = line.partition(":")
        found[key] = value
    return int(found["VmRSS"].split()[0]), int(found["RssAnon"].split()[0])


def _stat_fields(folder: Path) -> list[str]:
    """Fields of /proc/PID/stat from `state` on; the name before them may hold blanks and brackets."""
    return (folder / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()


def _cpu_ticks(folder: Path) -> int:
    fields = _stat_fields(folder)
    return int(fields[11]) + int(fields[12])


Times = tuple[int, int]
"""Own and waited-for CPU time, in ticks."""


def foreign_ticks(lab: Lab) -> dict[int, Times]:
    """Times of each process outside this lab."""
    inside = os.readlink(f"/proc/{lab.init_pid}/ns/pid")
    found: dict[int, Times] = {}
    for folder in _PROC.iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            fields = _stat_fields(folder)
            if int(fields[6]) & _PF_KTHREAD or os.readlink(folder / "ns/pid") == inside:
                continue
        except OSError:
            continue  # It ended while we looked; its time is now its parent's.
        own, waited = (sum(int(value) for value in fields[at : at + 2]) for at in (11, 13))
        found[int(folder.name)] = (own, waited)
    return found


def growth(before: dict[int, Times], after: dict[int, Times]) -> int:
    """Ticks that were used between two looks.

    What an ended process had used before is in the waited-for time of its parent now, and is not counted again; where the
    parent has ended as well, as with a whole lab, it is nowhere.
    """
    own = sum(times[0] - before.get(pid, (0, 0))[0] for pid, times in after.items())
    waited = sum(times[1] - before.get(pid, (0, 0))[1] for pid, times in after.items())
    ended = sum(sum(times) for pid, times in before.items() if pid not in after)
    return own + max(0, waited - ended)


def _machine_ticks() -> tuple[int, int, int]:
    """(all, idle, stolen) from /proc/stat; guest time is already part of user time."""
    with open("/proc/stat", encoding="ascii") as stat:
        values = [int(value) for value in stat.readline().split()[1:9]]
    return sum(values), values[3] + values[4], values[7]
