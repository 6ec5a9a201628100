"""Interleaved rounds of several tests over several subjects: neighbours in time are what gets compared."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from lab.testbed import Lab, LabError, say

from . import report, session, subjects
from .measure import Run, Test, TransferFailed, run_test
from .subject import Subject


@dataclass
class Outcome:
    runs: list[Run] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by test; what has failed once is not tried again."""


def add_arguments(parser: argparse.ArgumentParser, rounds: int, seconds: float) -> None:
    """What every verb has that compares subjects."""
    session.add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=rounds, help="counted rounds, after one warm-up (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=seconds, help="length of each measurement (default: %(default)s)")
    names = ",".join(subjects.STARTERS)
    parser.add_argument("--subjects", default=names, help="comma-separated (default: %(default)s)")
    parser.add_argument("--allow-noise", action="store_true", help="count also what was measured beside other work")
    parser.add_argument("--keep-logs", action="store_true", help="keep the lab's folder with the logs")


def measure_all(
    lab: Lab,
    running: list[Subject],
    tests: Iterable[Test],
    numbers: Iterable[int],
    seconds: float,
    before: Callable[[int], None] = lambda number: None,
    outcome: Outcome | None = None,
) -> Outcome:
    """One measurement of each test with each subject in each round; `before` is called before each of them.

    With an `outcome` it goes on with that one.
    """
    outcome = outcome or Outcome()
    kinds = list(tests)
    for number in numbers:
        for test in kinds:
            for subject in running:
                if f"{subject.name} {subject.path} {test.name}" not in outcome.failed:
                    before(number)
                    _measure_one(lab, subject, test, number, seconds, outcome)
    return outcome


def _measure_one(lab: Lab, subject: Subject, test: Test, number: int, seconds: float, outcome: Outcome) -> None:
    try:
        run = run_test(lab, subject, test, number, seconds)
    except (TransferFailed, LabError) as error:
        outcome.failed[f"{subject.name} {subject.path} {test.name}"] = str(error)
        say(f"round {number} {test.name:<16} {subject.name} {subject.path} FAILED: {error}")
        return
    say(_progress(run))
    outcome.runs.append(run)


def _progress(run: Run) -> str:
    value = f"{run.gbps:.3f} Gb/s" if run.gbps is not None else f"p50 {run.p50_us:.1f} us, p99 {run.p99_us:.1f} us"
    beside = f" beside {run.bulk_gbps:.3f} Gb/s" if run.bulk_gbps is not None else ""
    noise = f", foreign CPU {run.foreign_cpu:.0%}" if run.foreign_cpu > report.FOREIGN_CPU_LIMIT else ""
    return f"round {run.round} {run.test:<16} {run.label:<20} {value}{beside}, machine busy {run.machine_busy:.0%}{noise}"


def finish(options: argparse.Namespace, outcome: Outcome, more: dict[str, Any]) -> int:
    """Writes and prints the result; the exit code."""
    result = report.compose(outcome.runs, outcome.failed, options.allow_noise, more)
    session.write_result(options.json, result)
    print(report.table(outcome.runs))
    for path, tests in result["ratios"].items():
        print(f"postern {path} over wireguard-go: " + ", ".join(f"{name} {value:.2f}" for name, value in tests.items()))
    session.print_targets(result)
    if result.get("noisy"):
        print("noisy: others used this machine; quote no figure for which --allow-noise counted such runs")
    for what, why in result["failed"].items():
        print(f"bench: FAILED, no ratios of this test: {what}: {why}", file=sys.stderr)
    return 1 if result["failed"] else 0
