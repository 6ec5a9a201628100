"""A lab for one benchmark: brought up, used, and gone again, whatever happens; and the result file."""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import scratch, services
from lab.paths import REPO
from lab.testbed import Lab


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every verb has."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")


def in_lab(measure: Callable[[Lab], int], keep_logs: bool = False) -> int:
    """What `measure` returns, or what went wrong with the lab."""

    def use(lab: Lab) -> int:
        services.start_dns(lab)
        return measure(lab)

    return scratch.in_lab("bench", use, keep_logs)


@functools.cache
def build(program: str) -> Path:
    """A program of bench/, which `./dev build` leaves out."""
    subprocess.run([REPO / "tools/build", "release", program], check=True, stdout=subprocess.DEVNULL)
    return REPO / "build/release/bin" / program


def write_result(path: Path | None, result: dict[str, Any]) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def print_targets(result: dict[str, Any]) -> None:
    for name, target in result.get("targets", {}).items():
        word = "met" if target["met"] else "MISSED"
        print(f"target {name}: {target['value']:g} {target['op']} {target['goal']:g} {word}")
