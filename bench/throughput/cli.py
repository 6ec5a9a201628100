"""`./dev bench throughput`: interleaved rounds over all subjects, on links as they are or made like others."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import network, rounds, session, subjects
from harness.accounting import memory_kb
from harness.measure import Test
from harness.subject import Subject, start_targets
from lab.testbed import Lab

TESTS = (
    Test("up1", 1, ("--parallel", "1")),
    Test("down1", 1, ("--parallel", "1", "--reverse")),
    Test("up4", 4, ("--parallel", "4")),
    Test("down4", 4, ("--parallel", "4", "--reverse")),
    Test("up16", 16, ("--parallel", "16")),
    Test("down16", 16, ("--parallel", "16", "--reverse")),
    Test("both1", 2, ("--parallel", "1", "--bidir")),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rounds.add_arguments(parser, rounds=5, seconds=4)
    parser.add_argument("--tests", default=",".join(test.name for test in TESTS), help="default: %(default)s")
    parser.add_argument("--wire", action="store_true", help="no offload on the internet's links, as on a real wire")
    parser.add_argument("--mtu", type=int, default=network.ETHERNET_MTU, help="of all links (default: %(default)s)")


def main(options: argparse.Namespace) -> int:
    return session.in_lab(lambda lab: _measure(lab, options), options.keep_logs)


def prefix(mtu: int, wire: bool) -> str:
    """What the names of tests begin with where links are not as usual, so that results can stand in one file."""
    return ("" if mtu == network.ETHERNET_MTU else f"mtu{mtu}_") + ("wire_" if wire else "")


def _measure(lab: Lab, options: argparse.Namespace) -> int:
    names = subjects.choose(options.tests, [test.name for test in TESTS], "test")
    begin = prefix(options.mtu, options.wire)
    tests = [replace(test, name=begin + test.name) for test in TESTS if test.name in names]
    if options.mtu != network.ETHERNET_MTU:
        network.set_mtu(lab, options.mtu)
    if options.wire:
        network.turn_offloads_off(lab)
    start_targets(lab)
    running = subjects.start(lab, options.subjects, options.mtu)
    idle = _idle_memory(lab, running)
    outcome = rounds.measure_all(lab, running, tests, range(options.rounds + 1), options.seconds)
    return rounds.finish(options, outcome, {"idle": idle} if not begin else {})


def _idle_memory(lab: Lab, running: list[Subject]) -> dict[str, Any]:
    """Memory of the connected, idle processes, before they carried anything."""
    processes = lab.processes()
    found: dict[str, dict[str, int]] = {"rss_kb": {}, "rss_anon_kb": {}}
    for label, name in ((label, name) for subject in running for label, name in subject.processes.items()):
        rss, anon = memory_kb(Path(f"/proc/{lab.init_pid}/root/proc/{processes[name]['pid']}"))
        found["rss_kb"][label], found["rss_anon_kb"][label] = rss, anon
    return found
