"""From runs to medians, ratios and targets, and the result file (schema 1).

Ratios are ours over wireguard-go's, of the medians over the counted rounds; for latency below 1 is better. A run beside
which others used the machine is recorded and not counted.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.paths import REPO

from .measure import Run
from .network import ETHERNET_MTU

SCHEMA = 1
OURS = "postern"
PEER = "wireguard-go"
TARGETS = Path(__file__).resolve().parents[1] / "targets.json"
FOREIGN_CPU_LIMIT = 0.10
"""More than this share of the machine for others, and a run is not comparable."""


def machine() -> dict[str, Any]:
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        models = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "memory_kb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024,
        "congestion_control": "cubic",
        "mtu": ETHERNET_MTU,
    }


def head() -> dict[str, Any]:
    """What every result file begins with."""
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, text=True, check=False)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"schema": SCHEMA, "made": now, "commit": told.stdout.strip(), "machine": machine()}


def counted(runs: Iterable[Run]) -> list[Run]:
    """All but round 0, the warm-up."""
    return [run for run in runs if run.round > 0]


def quiet(runs: Iterable[Run]) -> list[Run]:
    """Those beside which nobody else used the machine."""
    return [run for run in runs if run.foreign_cpu <= FOREIGN_CPU_LIMIT]


def tests_of(runs: Iterable[Run]) -> list[str]:
    """Their names in the order in which they were run."""
    return list(dict.fromkeys(run.test for run in runs))


def median(runs: Iterable[Run], subject: str, path: str, test: str) -> float | None:
    """Median of what this test measures: Gb/s, or the p50 in µs."""
    values = [
        value
        for run in counted(runs)
        if (run.subject, run.path, run.test) == (subject, path, test)
        and (value := run.p50_us if run.gbps is None else run.gbps) is not None
    ]
    return statistics.median(values) if values else None


def medians(runs: list[Run]) -> dict[str, dict[str, float]]:
    """{test: {"subject path": median}}."""
    found: dict[str, dict[str, float]] = {}
    for run in counted(runs):
        value = median(runs, run.subject, run.path, run.test)
        if value is not None:
            found.setdefault(run.test, {})[run.label] = round(value, 4)
    return found


def ratios(runs: list[Run]) -> dict[str, dict[str, float]]:
    """{path: {test: ours over the peer's}} for each path on which we ran."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted({run.path for run in counted(runs) if run.subject == OURS}):
        for test in tests_of(runs):
            ours = median(runs, OURS, path, test)
            theirs = median(runs, PEER, "direct", test)
            if ours is not None and theirs:
                found.setdefault(path, {})[test] = round(ours / theirs, 3)
    return found


def cpu_medians(runs: list[Run]) -> dict[str, dict[str, dict[str, float]]]:
    """{path: {test: {process: s/GB}}} of our own processes."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for run in counted(runs):
        if run.subject == OURS:
            for process, value in run.cpu_s_per_gb.items():
                found.setdefault(run.path, {}).setdefault(run.test, {}).setdefault(process, []).append(value)
    return {
        path: {test: {name: statistics.median(v) for name, v in cpu.items()} for test, cpu in tests.items()}
        for path, tests in found.items()
    }


def relay_gbps_per_core(cpu: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """{test: what one core of the relay would carry} from the CPU that the server used for what it did carry."""
    used = {test: found.get("postern-server", 0.0) for test, found in cpu.get("relay", {}).items()}
    return {test: round(8 / seconds, 1) for test, seconds in used.items() if seconds > 0}


def judge(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Compares measured values with bench/targets.json. A target whose value was not measured is left out."""
    judged = {}
    for name, target in json.loads(TARGETS.read_text("utf-8"))["targets"].items():
        value: Any = values
        for step in target["value"].split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, (int, float)):
            met = value >= target["goal"] if target["op"] == ">=" else value <= target["goal"]
            judged[name] = {**target, "value": value, "met": met}
    return judged


def compose(runs: list[Run], failed: dict[str, str], allow_noise: bool, more: dict[str, Any]) -> dict[str, Any]:
    """The result file. A test with a failed transfer, or with noise alone, has no ratios, so that nobody quotes any."""
    good = runs if allow_noise else quiet(runs)
    failed = {**failed, **_noise_alone(runs, good)}
    bad_tests = {what.split()[-1] for what in failed}
    good = [run for run in good if run.test not in bad_tests]
    cpu = cpu_medians(good)
    result = {**head(), "runs": [_entry(run) for run in runs], "failed": failed}
    if len(counted(quiet(runs))) < len(counted(runs)):
        result["noisy"] = True
    result |= {"medians": medians(good), "ratios": ratios(good), "cpu_s_per_gb": cpu}
    result |= {"relay_gbps_per_core": relay_gbps_per_core(cpu), **more}
    result["targets"] = judge(result)
    return result


def _noise_alone(runs: list[Run], good: list[Run]) -> dict[str, str]:
    names = [{f"{run.label} {run.test}": None for run in counted(some)} for some in (runs, good)]
    why = f"others used more than {FOREIGN_CPU_LIMIT:.0%} of the CPU in every round; run it on an idle machine"
    return {name: why for name in names[0] if name not in names[1]}


def _entry(run: Run) -> dict[str, Any]:
    return {key: value for key, value in asdict(run).items() if value is not None}


def table(runs: list[Run]) -> str:
    """Medians for people, one line per subject."""
    tests = tests_of(runs)
    is_rate = {run.test: run.gbps is not None for run in runs}
    width = max([14, *(len(test) + 2 for test in tests)])
    lines = [f"{'subject':<14}{'path':<8}" + "".join(f"{test:>{width}}" for test in tests)]
    for subject, path in dict.fromkeys((run.subject, run.path) for run in runs):
        values = [(median(runs, subject, path, test), "Gb/s" if is_rate[test] else "us") for test in tests]
        cells = ["-" if value is None else f"{value:.3f} {unit}" if unit == "Gb/s" else f"{value:.1f} {unit}" for value, unit in values]
        lines.append(f"{subject:<14}{path:<8}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)
