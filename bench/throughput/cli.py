"""`./dev bench throughput`: interleaved rounds over all subjects, one result file."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab import services
from lab.debs import FetchError
from lab.testbed import Lab, LabError, say, scratch_run_dir

from . import report, subjects
from .accounting import memory_kb
from .measure import TESTS, Run, TransferFailed, run_test

FOREIGN_CPU_LIMIT = 0.10
"""More than this share of the machine for others, and a run is not comparable."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds, after one warm-up (default: 5)")
    parser.add_argument("--seconds", type=float, default=4, help="length of each measurement (default: 4)")
    names = ",".join(subjects.STARTERS)
    parser.add_argument("--subjects", default=names, help="comma-separated (default: %(default)s)")
    parser.add_argument("--tests", default=",".join(test.name for test in TESTS), help="default: %(default)s")
    parser.add_argument("--allow-noise", action="store_true", help="go on beside other work; marks the results")
    parser.add_argument("--wire", action="store_true", help="no offload on the internet's links, as on a real wire")
    parser.add_argument("--keep-logs", action="store_true", help="keep the lab's folder with the logs")


def main(options: argparse.Namespace) -> int:
    run_dir = scratch_run_dir("bench")
    try:
        chosen = _chosen(options.subjects, list(subjects.STARTERS), "subject")
        tests = _chosen(options.tests, [test.name for test in TESTS], "test")
        lab = Lab.start(run_dir)
    except (LabError, FetchError) as error:
        say(f"bench: {error}")
        return 2
    try:
        return _measure(lab, options, chosen, tests)
    except LabError as error:
        say(f"bench: {error}")
        return 1
    finally:
        lab.down()
        if options.keep_logs:
            say(f"logs: {run_dir}/log")
        else:
            shutil.rmtree(run_dir, ignore_errors=True)


def _chosen(text: str, known: list[str], what: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            raise LabError(f"there is no {what} {name!r}; choose from {', '.join(known)}")
    return names


def _measure(lab: Lab, options: argparse.Namespace, chosen: list[str], tests: list[str]) -> int:
    services.start_dns(lab)
    subjects.start_targets(lab)
    if options.wire:
        subjects.turn_offloads_off(lab)
    running = [subjects.STARTERS[name](lab) for name in chosen]
    idle = _idle_memory(lab, running)
    runs: list[Run] = []
    failure = ""
    try:
        for number in range(options.rounds + 1):
            for run in _round(lab, running, tests, number, options.seconds):
                runs.append(run)  # One by one: what was measured before a failure is still recorded.
    except TransferFailed as error:
        failure = str(error)
    noisy = any(run.foreign_cpu > FOREIGN_CPU_LIMIT for run in report.counted(runs))
    if noisy and not options.allow_noise and not failure:
        failure = f"other processes used more than {FOREIGN_CPU_LIMIT:.0%} of the CPU; run it on an idle machine"
    result = report.compose(runs, idle, valid=not failure, noisy=noisy)
    result["machine"]["offload"] = not options.wire
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _print(runs, result, failure)
    return 1 if failure else 0


def _round(lab: Lab, running: list[subjects.Subject], tests: list[str], number: int, seconds: float) -> Iterator[Run]:
    """One measurement of each test with each subject; neighbours in time are what gets compared."""
    for test in (test for test in TESTS if test.name in tests):
        for subject in running:
            run = run_test(lab, subject, test, number, seconds)
            say(_progress(run))
            yield run


def _progress(run: Run) -> str:
    latency = f"p50 {run.p50_us} us, p99 {run.p99_us} us"
    value = latency if run.gbps is None else f"{run.gbps:.2f} Gb/s"
    noise = f", foreign CPU {run.foreign_cpu:.0%}" if run.foreign_cpu > FOREIGN_CPU_LIMIT else ""
    return f"round {run.round} {run.test:<12} {run.label:<20} {value}, machine busy {run.machine_busy:.0%}{noise}"


def _idle_memory(lab: Lab, running: list[subjects.Subject]) -> dict[str, Any]:
    """Memory of the connected, idle processes, before they carried anything."""
    processes = lab.processes()
    found: dict[str, dict[str, int]] = {"rss_kb": {}, "rss_anon_kb": {}}
    for label, name in ((label, name) for subject in running for label, name in subject.processes.items()):
        rss, anon = memory_kb(Path(f"/proc/{lab.init_pid}/root/proc/{processes[name]['pid']}"))
        found["rss_kb"][label], found["rss_anon_kb"][label] = rss, anon
    return found


def _print(runs: list[Run], result: dict[str, Any], failure: str) -> None:
    print(report.table(runs))
    for path, tests in result.get("ratios", {}).items():
        print(f"postern {path} over wireguard-go: " + ", ".join(f"{name} {value:.2f}" for name, value in tests.items()))
    for name, target in result.get("targets", {}).items():
        word = "met" if target["met"] else "MISSED"
        print(f"target {name}: {target['value']} {target['op']} {target['goal']} {word}")
    if result.get("noisy"):
        print("noisy: others used this machine during the run; do not quote these figures")
    if failure:
        print(f"bench: FAILED, no ratios: {failure}", file=sys.stderr)
