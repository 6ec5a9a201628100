"""New flows per second: connect, reset, again, many at a time, from one thread on the laptop."""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from lab.testbed import Lab, await_true, say
from throughput import report, session, subjects
from throughput.accounting import Meter
from throughput.cli import FOREIGN_CPU_LIMIT

PORT = 7000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds, after one warm-up (default: 3)")
    parser.add_argument("--seconds", type=float, default=4, help="length of each measurement (default: 4)")
    parser.add_argument("--at-once", type=int, default=200, help="connections that are being opened (default: 200)")
    parser.add_argument("--subjects", default="bare,wireguard-go,postern-direct,postern-relay", help="default: %(default)s")
    parser.add_argument("--allow-noise", action="store_true", help="go on beside other work; marks the results")


def main(options: argparse.Namespace) -> int:
    return session.in_lab(lambda lab: _measure(lab, options))


def _measure(lab: Lab, options: argparse.Namespace) -> int:
    load = session.build("flow_load")
    subjects.start_targets(lab)
    lab.host("nginx").spawn("flow-target", str(load), "serve", str(PORT))
    await_true("the target serves", lambda: "serving" in lab.log("flow-target"), 10)
    for router in ("laptop-nat", "home-nat", "connector"):
        # Their tables are too small for tens of thousands of connections that ended seconds ago.
        lab.host(router).run("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_close=1", check=False)
    running = [subjects.STARTERS[name](lab) for name in options.subjects.split(",")]
    runs = [
        _run(lab, load, subject, number, options) for number in range(options.rounds + 1) for subject in running
    ]
    noisy = any(run["foreign_cpu"] > FOREIGN_CPU_LIMIT for run in runs if run["round"] > 0)
    rates: dict[str, dict[str, float]] = {}
    for subject in running:
        values = [run["per_s"] for run in runs if run["round"] > 0 and _names(run) == (subject.name, subject.path)]
        rates.setdefault(subject.name, {})[subject.path] = statistics.median(values)
    result: dict[str, Any] = {"schema": report.SCHEMA, "machine": report.machine(), "runs": runs, "flows_per_s": rates}
    result["noisy"] = noisy
    result["targets"] = report.judge({"flows_per_s": rates})
    session.write_result(options.json, result)
    for name, paths in rates.items():
        print(f"{name:<14}" + ", ".join(f"{path} {rate:.0f} flows/s" for path, rate in paths.items()))
    session.print_targets(result)
    if noisy:
        print("noisy: others used this machine during the run; do not quote these figures")
    return 1 if noisy and not options.allow_noise else 0


def _names(run: dict[str, Any]) -> tuple[str, str]:
    return run["subject"], run["path"]


def _run(lab: Lab, load: Path, subject: subjects.Subject, number: int, options: argparse.Namespace) -> dict[str, Any]:
    subject.prepare()
    meter = Meter(lab, subject.processes)
    argv = [str(load), "open", subject.address, str(PORT), f"{options.seconds:g}", str(options.at_once)]
    said = lab.host("laptop").output(*argv, seconds=options.seconds + 30)
    cost = meter.stop()
    run: dict[str, Any] = {"round": number, "subject": subject.name, "path": subject.path, "test": "connect"}
    run |= json.loads(said)
    run["cpu_us_per_flow"] = {
        label: round(used / max(1, run["opened"]) * 1e6, 1) for label, used in cost.cpu_s.items()
    }
    run["foreign_cpu"] = round(cost.foreign_cpu, 3)
    say(f"round {number} {subject.name} {subject.path}: {run['per_s']:.0f} flows/s, {run['failed']} failed")
    return run
