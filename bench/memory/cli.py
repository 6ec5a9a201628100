"""Memory of client and connector with idle flows: opened, left alone, and measured a moment later."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path
from typing import Any

from harness import network, report, session, subjects
from harness.accounting import memory_kb
from harness.subject import FLOW_PORTS, start_targets
from lab.testbed import Lab, LabError, await_true, read_line, say

PROCESSES = ("posternd", "postern-connector", "postern-server")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    session.add_arguments(parser)
    parser.add_argument("--flows", default="1000,10000", help="comma-separated, growing (default: %(default)s)")


def main(options: argparse.Namespace) -> int:
    return session.in_lab(lambda lab: _measure(lab, options))


def _measure(lab: Lab, options: argparse.Namespace) -> int:
    load = session.build("flow_load")
    start_targets(lab)
    [ours] = subjects.start(lab, "postern-direct", network.ETHERNET_MTU)
    ours.prepare()
    levels = [{"flows": 0, "rss_anon_kb": _memory_at_rest(lab)}]
    for flows in (int(word) for word in options.flows.split(",")):
        levels.append({"flows": flows, "rss_anon_kb": _memory_with(lab, load, ours.address, flows)})
        say(f"{flows} idle flows: {levels[-1]['rss_anon_kb']}")
    result: dict[str, Any] = {**report.head(), "levels": levels}
    result["bytes_per_flow"] = {name: _per_flow(levels, name) for name in PROCESSES}
    idle = {"rss_anon_kb": levels[0]["rss_anon_kb"]}
    result["targets"] = report.judge({"idle": idle, "bytes_per_flow": result["bytes_per_flow"]})
    session.write_result(options.json, result)
    print(f"{'flows':>8}" + "".join(f"{name:>20}" for name in PROCESSES))
    for level in levels:
        print(f"{level['flows']:>8}" + "".join(f"{level['rss_anon_kb'][name]:>17} kB" for name in PROCESSES))
    session.print_targets(result)
    return 0


def _per_flow(levels: list[dict[str, Any]], name: str) -> float:
    """Bytes that each flow of the highest level added."""
    first, last = levels[0], levels[-1]
    return round((last["rss_anon_kb"][name] - first["rss_anon_kb"][name]) * 1024 / max(1, last["flows"]), 1)


def _memory(lab: Lab) -> dict[str, int]:
    running = lab.processes()
    inside = Path(f"/proc/{lab.init_pid}/root/proc")
    return {name: memory_kb(inside / str(running[name]["pid"]))[1] for name in PROCESSES}


def _memory_at_rest(lab: Lab) -> dict[str, int]:
    """Once it is the same as half a second before."""
    seen: list[dict[str, int]] = [{}]

    def rests() -> bool:
        seen.append(_memory(lab))
        return seen[-1] == seen[-2]

    await_true("memory has come to rest", rests, 30, every=0.5)
    return seen[-1]


def _memory_with(lab: Lab, load: Path, address: str, flows: int) -> dict[str, int]:
    argv = [str(load), "hold", address, FLOW_PORTS, str(flows)]
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    process = lab.host("laptop").popen(*argv, **pipes)
    try:
        said = read_line(process, 120)
        if not said.startswith("held"):
            errors = process.stderr.read() if process.stderr else ""
            raise LabError(f"flow_load did not hold {flows} flows: {said.strip()} {errors}")
        return _memory_at_rest(lab)
    finally:
        if process.stdin:
            process.stdin.close()
        process.wait(30)
