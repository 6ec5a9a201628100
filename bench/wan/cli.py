"""`./dev bench wan`: one flow each way under several delays and losses, the peers and ourselves by turns."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from harness import network, rounds, session, subjects
from harness.measure import Test
from harness.subject import start_targets
from lab.testbed import Lab
from lab.wan import Line, Wan

RATE_MBIT = 300.0
"""Far below what most subjects can do here, so that the line decides and not the machine."""
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
    rounds.add_arguments(parser, rounds=3, seconds=8)
    names = ",".join(condition.name for condition in CONDITIONS)
    parser.add_argument("--conditions", default=names, help="comma-separated (default: %(default)s)")
    parser.add_argument("--directions", default="up,down", help="comma-separated (default: %(default)s)")


def main(options: argparse.Namespace) -> int:
    return session.in_lab(lambda lab: _measure(lab, options), options.keep_logs)


def _measure(lab: Lab, options: argparse.Namespace) -> int:
    names = subjects.choose(options.conditions, [each.name for each in CONDITIONS], "condition")
    ways = subjects.choose(options.directions, list(DIRECTIONS), "direction")
    start_targets(lab)
    outcome = rounds.Outcome()
    with Wan(lab) as wan:
        wan.set(Line(rate_mbit=RATE_MBIT, queue_ms=QUEUE_MS))
        running = subjects.start(lab, options.subjects, network.ETHERNET_MTU)
        for number in range(1, options.rounds + 1):
            for condition in (each for each in CONDITIONS if each.name in names):
                tests = [Test(f"{condition.name}_{way}", 1, DIRECTIONS[way]) for way in ways]

                def renew(seed: int, condition: Condition = condition) -> None:
                    # A new line for each: all meet the same losses, and no queue of the one before.
                    wan.set(Line(condition.round_trip_ms, condition.loss_percent, RATE_MBIT, QUEUE_MS, seed=seed))

                rounds.measure_all(lab, running, tests, [number], options.seconds, before=renew, outcome=outcome)
    return rounds.finish(options, outcome, {"line": {"rate_mbit": RATE_MBIT, "queue_ms": QUEUE_MS}})
