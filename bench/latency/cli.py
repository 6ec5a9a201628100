"""`./dev bench latency`: half round trips of 64 bytes and new connections, idle and while a bulk transfer runs."""

from __future__ import annotations

import argparse

from harness import network, report, rounds, session, subjects
from harness.measure import Run, Test
from harness.subject import start_targets
from lab.testbed import Lab
from lab.wan import Line, Wan

TESTS = (
    Test("latency_p50", 1, probe="tcp"),
    Test("latency_udp", 1, probe="udp"),
    Test("latency_connect", 1, probe="connect"),
    Test("latency_beside_up", 1, ("--parallel", "1"), probe="tcp"),
    Test("latency_beside_down", 1, ("--parallel", "1", "--reverse"), probe="tcp"),
)
LINE = Line(round_trip_ms=40, rate_mbit=50, queue_ms=100)
"""What a person at home has: a queue of twice the round trip, which a bulk transfer may fill."""
LINE_TESTS = (
    Test("line_idle", 1, probe="tcp"),
    Test("line_beside_up", 1, ("--parallel", "1"), probe="tcp"),
    Test("line_beside_down", 1, ("--parallel", "1", "--reverse"), probe="tcp"),
)
LINE_IDLE = LINE_TESTS[0].name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rounds.add_arguments(parser, rounds=5, seconds=4)
    names = ",".join(test.name for test in (*TESTS, *LINE_TESTS))
    parser.add_argument("--tests", default=names, help="default: %(default)s")


def main(options: argparse.Namespace) -> int:
    return session.in_lab(lambda lab: _measure(lab, options), options.keep_logs)


def _measure(lab: Lab, options: argparse.Namespace) -> int:
    names = subjects.choose(options.tests, [test.name for test in (*TESTS, *LINE_TESTS)], "test")
    start_targets(lab)
    running = subjects.start(lab, options.subjects, network.ETHERNET_MTU)
    numbers = range(options.rounds + 1)
    near = [test for test in TESTS if test.name in names]
    outcome = rounds.measure_all(lab, running, near, numbers, options.seconds)
    if far := [test for test in LINE_TESTS if test.name in names]:
        with Wan(lab) as wan:
            # A new line for each: no queue of the one before.
            rounds.measure_all(
                lab, running, far, numbers[1:], options.seconds, before=lambda _: wan.set(LINE), outcome=outcome
            )
    return rounds.finish(options, outcome, {"line_factor": line_factors(outcome.runs)})


def line_factors(runs: list[Run]) -> dict[str, dict[str, float]]:
    """{test: {"subject path": its p50 over that of the idle line}}."""
    found = report.medians(runs)
    idle = found.get(LINE_IDLE, {})
    return {
        test: {label: round(value / idle[label], 2) for label, value in found[test].items() if label in idle}
        for test in found
        if test.startswith("line_") and test != LINE_IDLE
    }
