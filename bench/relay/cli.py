"""Runs relay_bench and judges it. With sockets, the relay is measured by `throughput` (relay_gbps_per_core there)."""

from __future__ import annotations

import argparse
import json
import subprocess
from typing import Any

from harness import report, session
from lab.testbed import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    session.add_arguments(parser)
    parser.add_argument("--bindings", type=int, default=100_000, help="idle bindings (default: 100000)")


def main(options: argparse.Namespace) -> int:
    done = subprocess.run([session.build("relay_bench"), str(options.bindings)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        say(f"bench: relay_bench failed: {done.stderr.strip()}")
        return 1
    measured: dict[str, Any] = json.loads(done.stdout)
    result = {**report.head(), "relay": measured}
    result["targets"] = report.judge({"relay": measured})
    session.write_result(options.json, result)
    print(f"{measured['binds_per_s']:.0f} bindings/s; {measured['bindings']} idle ones take {measured['rss_anon_kb']} kB")
    for name, way in measured["ways"].items():
        print(f"{name:<14}{way['packets_per_s']:>12.0f} packets/s {way['gbps']:>8.1f} Gb/s")
    session.print_targets(result)
    return 0
