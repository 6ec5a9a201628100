"""Writes docs/benchmarks.md and docs/benchmarks/*.svg from a result file of `all` (or of any verb)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lab.paths import REPO
from lab.testbed import say

from .figures import Figure, figures
from .plot import number

DOCS = REPO / "docs"
FOLDER = "benchmarks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="FILE", help="what --json wrote")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the page goes (default: %(default)s)")


def main(options: argparse.Namespace) -> int:
    try:
        result = json.loads(options.source.read_text("utf-8"))
    except (OSError, ValueError) as error:
        say(f"bench: {options.source} is no result file ({error}); make one with `./dev bench all --json FILE`")
        return 2
    made = figures(result)
    folder = options.docs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for figure in made:
        (folder / f"{figure.file}.svg").write_text(figure.svg(), encoding="utf-8")
    page = options.docs / f"{FOLDER}.md"
    page.write_text(render(result, made), encoding="utf-8")
    print(f"{page} and {len(made)} plots in {folder}")
    return 0


def render(result: dict[str, Any], made: list[Figure]) -> str:
    parts = ["# Benchmarks", _introduction(result), _target_table(result.get("targets", {}))]
    for figure in made:
        parts += [f"## {figure.title}", f"![{figure.title}]({FOLDER}/{figure.file}.svg)"]
        parts += [figure.text] if figure.text else []
    parts += ["## What is compared, and how", _METHOD, _failures(result.get("failed", {}))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _introduction(result: dict[str, Any]) -> str:
    machine = result["machine"]
    noisy = (
        "\n\n**Others used this machine during some of the measurements.**" if result.get("noisy") else ""
    )
    return (
        f"Measured on {result['made'][:10]} at commit {result['commit'] or 'unknown'}: {machine['cpus']} cores of"
        f" {machine['cpu']}, {machine['memory_kb'] / 1e6:.0f} GB, Linux {machine['kernel']}. Applications, tunnels, routers"
        " and relay share these cores, so a tunnel's rate is what is left of them when everybody has had its part.\n\n"
        "Reproduce it on an idle machine with `./dev bench all --json FILE` (below an hour; `quick`: below eight minutes)"
        f" and `./dev bench page --from FILE`.{noisy}"
    )


def _target_table(targets: dict[str, Any]) -> str:
    lines = ["| target | | measured | goal | |", "|---|---|---|---|---|"]
    for name, target in targets.items():
        stretch = f" (stretch {number(target['stretch'])})" if "stretch" in target else ""
        goal = f"{_WORDS[target['op']]} {number(target['goal'])}{stretch}"
        met = "met" if target["met"] else "**missed**"
        lines.append(f"| {name} | {target.get('what', '')} | {number(target['value'])} | {goal} | {met} |")
    return "\n".join(lines) if targets else ""


_WORDS = {">=": "≥", "<=": "≤"}


def _failures(failed: dict[str, str]) -> str:
    if not failed:
        return ""
    return "## What failed\n\n" + "\n".join(f"* {what}: {' '.join(why.split())[:300]}" for what, why in failed.items())


_METHOD = """Everything runs in network namespaces of one machine: a laptop behind one NAT, a target behind another, and a server on
the internet between them. All subjects go from the laptop to the same target over the same links, in the same run, by
turns; the first round is a warm-up, and figures are medians of the others. TCP is cubic everywhere.

* **bare**: a port forward, without any tunnel.
* **wireguard-go** (Debian's backport with TUN and UDP offloads): laptop to connector by a port forward.
* **openvpn** (Debian's): the same place, UDP, AES-128-GCM, no compression, `mssfix` at the link's size, large socket buffers,
  `fast-io`, without the kernel module that Debian's kernels do not have.
* **postern direct**: through both NATs without a port forward. **postern relay**: the same session through the server.

Transfers are iperf3's with 256 KB writes; a GB is 10^9 bytes that the receiver got; CPU is user and system time of the process.
Latency is measured with messages of 64 bytes, each sent when the one before has come back. A measurement beside which other
processes used more than a tenth of the machine is not counted, and a test with a failed transfer has no ratio.

Idle clients are real daemons that have signed in and have a session; RssAnon is read when it no longer changes."""
