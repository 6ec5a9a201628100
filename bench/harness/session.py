"""A lab for one benchmark: brought up, used, and gone again, whatever happens; and the result file."""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import services
from lab.debs import FetchError
from lab.paths import REPO
from lab.testbed import Lab, LabError, say, scratch_run_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every verb has."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")


def in_lab(measure: Callable[[Lab], int], keep_logs: bool = False) -> int:
    """What `measure` returns; 1 when the lab fails meanwhile, 2 when it does not come up."""
    run_dir = scratch_run_dir("bench")
    try:
        lab = Lab.start(run_dir)
    except (LabError, FetchError) as error:
        say(f"bench: {error}")
        return 2
    try:
        services.start_dns(lab)
        return measure(lab)
    except LabError as error:
        say(f"bench: {error}")
        return 1
    finally:
        lab.down()
        if keep_logs:
            say(f"logs: {run_dir}/log")
        else:
            shutil.rmtree(run_dir, ignore_errors=True)


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
