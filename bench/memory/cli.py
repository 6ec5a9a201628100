"""`./dev bench memory`: idle flows, idle clients, and an idle hour without the server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from harness import network, report, session, subjects
from harness.subject import start_targets
from lab.testbed import Lab, LabError, say

from . import clients, sites, unreachable
from .rest import PROCESSES, rss_anon_kb_at_rest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    session.add_arguments(parser)
    parser.add_argument(
        "--flows",
        default="1000,10000,99000",
        help="comma-separated, growing, 0 for none (default: %(default)s; a client takes 100 000); 15 000 for each connector",
    )
    parser.add_argument("--clients", type=int, default=1000, help="idle clients of one connector (default: %(default)s)")
    parser.add_argument(
        "--unreachable", type=int, default=0, metavar="MINUTES", help="also so long without the server (default: 0)"
    )
    parser.add_argument("--keep-logs", action="store_true", help="keep the lab's folder with the logs")


def main(options: argparse.Namespace) -> int:
    return session.in_lab(lambda lab: _measure(lab, options), options.keep_logs)


def _measure(lab: Lab, options: argparse.Namespace) -> int:
    start_targets(lab)
    [ours] = subjects.start(lab, "postern-direct", network.ETHERNET_MTU)
    ours.prepare()
    counts = [int(word) for word in options.flows.split(",") if int(word) > 0]
    result: dict[str, Any] = {**report.head(), "failed": {}}
    _try(result, "flows", lambda: _measure_flows(lab, sites.first(ours), counts))
    if options.clients:
        _try(result, "clients", lambda: {"clients": clients.measure(lab, options.clients)})
    if options.unreachable:
        _try(result, "unreachable", lambda: {"unreachable": unreachable.measure(lab, options.unreachable)})
    result["targets"] = report.judge(result)
    session.write_result(options.json, result)
    _print(result)
    return 1 if result["failed"] else 0


def _try(result: dict[str, Any], name: str, measure: Callable[[], dict[str, Any]]) -> None:
    """One part of three: what fails is said, and the others are measured all the same."""
    try:
        result |= measure()
    except LabError as error:
        result["failed"][f"memory {name}"] = str(error)
        print(f"bench: FAILED: memory {name}: {error}", file=sys.stderr)


def _measure_flows(lab: Lab, first: sites.Site, counts: list[int]) -> dict[str, Any]:
    wanted = -(-max(counts, default=0) // sites.FLOWS_MAX)
    all_sites = [first, *(sites.add(lab, number) for number in range(1, wanted))]
    levels = [_level(lab, all_sites, 0)]
    for flows in counts:
        sites.await_ended(lab, all_sites)
        with sites.held(lab, all_sites, flows):
            levels.append(_level(lab, all_sites, flows))
        say(f"{flows} idle flows: {levels[-1]['rss_anon_kb']}")
    idle = {**levels[0]["rss_anon_kb"]}
    idle["postern-connector"] //= len(all_sites)
    found = {"levels": levels, "idle": {"rss_anon_kb": idle}}
    return found | ({"bytes_per_flow": {name: per_flow(levels, name) for name in PROCESSES}} if counts else {})


def _level(lab: Lab, all_sites: list[sites.Site], flows: int) -> dict[str, Any]:
    """Connectors are counted together."""
    found = rss_anon_kb_at_rest(lab, [*PROCESSES, *(site.connector for site in all_sites)])
    together = {name: found[name] for name in PROCESSES}
    together["postern-connector"] = sum(found[site.connector] for site in all_sites)
    return {"flows": flows, "connectors": len(all_sites), "rss_anon_kb": together}


def per_flow(levels: list[dict[str, Any]], name: str) -> float:
    """Bytes that each flow of the highest level added."""
    first, last = levels[0], levels[-1]
    return round((last["rss_anon_kb"][name] - first["rss_anon_kb"][name]) * 1024 / max(1, last["flows"]), 1)


def _print(result: dict[str, Any]) -> None:
    print(f"{'flows':>8}" + "".join(f"{name:>20}" for name in PROCESSES))
    for level in result.get("levels", []):
        print(f"{level['flows']:>8}" + "".join(f"{level['rss_anon_kb'][name]:>17} kB" for name in PROCESSES))
    if "clients" in result:
        found = result["clients"]
        print(f"{found['clients']} idle clients: {found['bytes_per_client']:.0f} bytes each at the connector")
    if "unreachable" in result:
        found = result["unreachable"]
        print(f"{found['minutes']} minutes without the server: {found['kb_per_hour']} KB per hour")
    session.print_targets(result)
