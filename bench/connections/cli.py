"""New flows per second: connect, reset, again, many at a time, from one thread on the laptop."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import Any

from harness import network, report, rounds, session, subjects
from harness.accounting import Meter
from harness.measure import FLOW_PORT, SLACK_SECONDS
from harness.subject import Subject, start_targets
from lab.testbed import Lab, LabError, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rounds.add_arguments(parser, rounds=3, seconds=4)
    parser.add_argument("--at-once", type=int, default=200, help="connections that are being opened (default: 200)")


def main(options: argparse.Namespace) -> int:
    return session.in_lab(lambda lab: _measure(lab, options), options.keep_logs)


def _measure(lab: Lab, options: argparse.Namespace) -> int:
    start_targets(lab)
    for router in ("laptop-nat", "home-nat", "connector"):
        # Their tables are too small for tens of thousands of connections that ended seconds ago.
        lab.host(router).run("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_close=1", check=False)
    running = subjects.start(lab, options.subjects, network.ETHERNET_MTU)
    runs: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for number in range(options.rounds + 1):
        for subject in running:
            try:
                runs.append(_run(lab, subject, number, options))
            except LabError as error:
                failed[f"{subject.name} {subject.path} connect"] = str(error)
    result: dict[str, Any] = {**report.head(), "connection_runs": runs, "failed": failed}
    result["noisy"] = any(run["foreign_cpu"] > report.FOREIGN_CPU_LIMIT for run in runs if run["round"] > 0)
    result["flows_per_s"] = _rates(runs, options.allow_noise)
    result["targets"] = report.judge(result)
    session.write_result(options.json, result)
    for name, paths in result["flows_per_s"].items():
        print(f"{name:<14}" + ", ".join(f"{path} {rate:.0f} flows/s" for path, rate in paths.items()))
    session.print_targets(result)
    for what, why in failed.items():
        print(f"bench: FAILED: {what}: {why}", file=sys.stderr)
    if result["noisy"]:
        print("noisy: others used this machine during the run")
    return 1 if failed or len(_flat(result["flows_per_s"])) < len(running) else 0


def _rates(runs: list[dict[str, Any]], allow_noise: bool) -> dict[str, dict[str, float]]:
    """{subject: {path: median}} of the counted rounds beside which nobody else worked."""
    good = [run for run in runs if run["round"] > 0 and (allow_noise or run["foreign_cpu"] <= report.FOREIGN_CPU_LIMIT)]
    rates: dict[str, dict[str, float]] = {}
    for name, path in dict.fromkeys((run["subject"], run["path"]) for run in good):
        values = [run["per_s"] for run in good if (run["subject"], run["path"]) == (name, path)]
        rates.setdefault(name, {})[path] = statistics.median(values)
    return rates


def _flat(rates: dict[str, dict[str, float]]) -> list[float]:
    return [rate for paths in rates.values() for rate in paths.values()]


def _run(lab: Lab, subject: Subject, number: int, options: argparse.Namespace) -> dict[str, Any]:
    subject.prepare()
    meter = Meter(lab, subject.processes)
    load = str(session.build("flow_load"))
    argv = [load, "open", subject.address, FLOW_PORT, f"{options.seconds:g}", str(options.at_once)]
    said = lab.host("laptop").output(*argv, seconds=options.seconds + SLACK_SECONDS)
    cost = meter.stop()
    run: dict[str, Any] = {"round": number, "subject": subject.name, "path": subject.path, "test": "connect"}
    run |= json.loads(said)
    run["cpu_us_per_flow"] = {
        label: round(used / max(1, run["opened"]) * 1e6, 1) for label, used in cost.cpu_s.items()
    }
    run["foreign_cpu"] = round(cost.foreign_cpu, 3)
    say(f"round {number} {subject.name} {subject.path}: {run['per_s']:.0f} flows/s, {run['failed']} failed")
    if not run["opened"]:
        raise LabError("no connection was opened")
    return run
