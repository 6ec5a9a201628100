"""Runs the steps of a plan as processes of their own: one that fails is reported and does not stop the rest."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness import session
from lab.paths import REPO
from lab.testbed import say

from .merge import merge
from .plan import ALL, QUICK, Step

PATIENCE = 3.0
"""How many times its usual time a step may take."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    session.add_arguments(parser)
    parser.add_argument("--allow-noise", action="store_true", help="count also what was measured beside other work")
    parser.add_argument("--only", default="", metavar="VERBS", help="comma-separated; the steps of these verbs alone")


def run_all(options: argparse.Namespace) -> int:
    return _run(ALL, options)


def run_quick(options: argparse.Namespace) -> int:
    return _run(QUICK, options)


def _run(plan: Sequence[Step], options: argparse.Namespace) -> int:
    steps = [step for step in plan if not options.only or step.words[0] in options.only.split(",")]
    if not steps:
        say(f"bench: there is no step of {options.only!r}; verbs are {', '.join(sorted({s.words[0] for s in plan}))}")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        runner = lambda step: _run_step(step, path, options.allow_noise)  # noqa: E731
        result = run_steps(steps, runner, lambda so_far: session.write_result(options.json, so_far))
    _print(result)
    return 1 if result["failed"] else 0


Runner = Callable[[Step], tuple[str, dict[str, Any]]]
"""Runs one step; says why it has failed (empty: it has not), and what it found."""


def run_steps(steps: Sequence[Step], runner: Runner, save: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The merged result, also saved after each step; `failed` names the steps that did too."""
    found: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for number, step in enumerate(steps):
        expected = sum(each.seconds for each in steps[:number])
        pace = sum(seconds.values()) / expected if expected else 1.0
        left = sum(each.seconds for each in steps[number:]) * pace
        say(f"=== {number + 1} of {len(steps)}: {step.name}; about {left / 60:.0f} minutes left")
        started = time.monotonic()
        why, result = runner(step)
        seconds[step.name] = round(time.monotonic() - started, 1)
        found.append(result)
        if why:
            failed[f"step {step.name}"] = why
            say(f"bench: {step.name} FAILED: {why}; going on")
        save(merge([*found, {"failed": failed, "seconds": seconds}]))
    return merge([*found, {"failed": failed, "seconds": seconds}])


def _run_step(step: Step, path: Path, allow_noise: bool) -> tuple[str, dict[str, Any]]:
    path.unlink(missing_ok=True)
    argv = [sys.executable, "-B", str(REPO / "tools/bench"), *step.words, "--json", str(path)]
    argv += ["--allow-noise"] if allow_noise and step.takes_noise else []
    why = ""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, timeout=step.seconds * PATIENCE, check=False)
        if done.returncode != 0:
            why = f"exit code {done.returncode}; what it said stands above"
    except subprocess.TimeoutExpired:
        why = f"took longer than {step.seconds * PATIENCE:.0f} s"
    return why, json.loads(path.read_text("utf-8")) if path.exists() else {}


def _print(result: dict[str, Any]) -> None:
    print(f"\n=== {sum(result['seconds'].values()) / 60:.1f} minutes; all targets that were measured:")
    session.print_targets(result)
    for what, why in result["failed"].items():
        print(f"FAILED {what}: {why}")
