"""`./dev bench wan`: one flow each way under several delays and losses, the peer and ourselves by turns."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import services
from lab.debs import FetchError
from lab.testbed import Lab, LabError, say, scratch_run_dir
from lab.wan import Line, Wan
from throughput import report, subjects
from throughput.measure import Run, Test, TransferFailed, run_test

RATE_MBIT = 300.0
"""Far below what either subject can do here, so that the line decides and not the machine."""
QUEUE_MS = 50.0


@dataclass(frozen=True)
class Condition:
    round_trip_ms: int
    loss_percent: float

    @property
    def name(self) -> str:
        """As in the names of results, where a dot separates: rtt100_loss0p1."""
        return f"rtt{self.round_trip_ms}_loss{self.loss_percent:g}".replace(".", "p")


CONDITIONS = [Condition(delay, loss) for delay in (20, 100) for loss in (0, 0.1, 1, 3)]
DIRECTIONS = {"up": ("--parallel", "1"), "down": ("--parallel", "1", "--reverse")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ",".join(condition.name for condition in CONDITIONS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3); each has its own losses")
    parser.add_argument("--seconds", type=float, default=8, help="length of each measurement (default: 8)")
    parser.add_argument("--conditions", default=names, help="comma-separated (default: %(default)s)")
    parser.add_argument("--directions", default="up,down", help="comma-separated (default: %(default)s)")
    parser.add_argument("--subjects", default="wireguard-go,postern-relay", help="default: %(default)s")


def main(options: argparse.Namespace) -> int:
    run_dir = scratch_run_dir("bench")
    try:
        lab = Lab.start(run_dir)
    except (LabError, FetchError) as error:
        say(f"bench: {error}")
        return 2
    try:
        return _measure(lab, options)
    except LabError as error:
        say(f"bench: {error}")
        return 1
    finally:
        lab.down()
        shutil.rmtree(run_dir, ignore_errors=True)


def _measure(lab: Lab, options: argparse.Namespace) -> int:
    services.start_dns(lab)
    subjects.start_targets(lab)
    conditions = [each for each in CONDITIONS if each.name in options.conditions.split(",")]
    runs: list[Run] = []
    failure = ""
    with Wan(lab) as wan:
        wan.set(Line(rate_mbit=RATE_MBIT, queue_ms=QUEUE_MS))
        running = [subjects.STARTERS[name](lab) for name in options.subjects.split(",")]
        try:
            for run in _runs(lab, wan, running, conditions, options):
                runs.append(run)
                value = f"{(run.gbps or 0) * 1000:.2f} Mb/s"
                say(f"round {run.round} {run.test:<24} {run.label:<20} {value}, machine busy {run.machine_busy:.0%}")
        except TransferFailed as error:
            failure = str(error)
    result = report.compose(runs, {}, valid=not failure, noisy=False)
    result["machine"]["line"] = {"rate_mbit": RATE_MBIT, "queue_ms": QUEUE_MS}
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(runs))
    if failure:
        print(f"bench: FAILED, no ratios: {failure}", file=sys.stderr)
    return 1 if failure else 0


def _runs(
    lab: Lab, wan: Wan, running: list[subjects.Subject], conditions: list[Condition], options: argparse.Namespace
) -> Iterator[Run]:
    for number in range(1, options.rounds + 1):
        for condition in conditions:
            for direction in options.directions.split(","):
                test = Test(f"{condition.name}_{direction}", 1, DIRECTIONS[direction])
                for subject in running:
                    # A new line for each: all meet the same losses, and no queue of the one before.
                    line = Line(condition.round_trip_ms, condition.loss_percent, RATE_MBIT, QUEUE_MS, seed=number)
                    wan.set(line)
                    yield run_test(lab, subject, test, number, options.seconds)


def table(runs: list[Run]) -> str:
    """Medians in Mb/s and the ratio, one line per condition and direction."""
    names = list(dict.fromkeys((run.subject, run.path) for run in runs))
    lines = [f"{'Mb/s':<26}" + "".join(f"{subject:>16}" for subject, _ in names) + f"{'ratio':>8}"]
    found = report.ratios(runs)
    for test in report.tests_of(runs):
        medians = [report.median(runs, subject, path, test) for subject, path in names]
        cells = "".join(f"{'-' if value is None else f'{value * 1000:.2f}':>16}" for value in medians)
        best = max((tests[test] for tests in found.values() if test in tests), default=None)
        lines.append(f"{test:<26}" + cells + f"{'-' if best is None else f'{best:.2f}':>8}")
    return "\n".join(lines)
