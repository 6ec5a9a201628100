"""One transfer or one ping-pong from the laptop to the target, with what it cost."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from lab.testbed import Lab, LabError, await_true

from .accounting import Meter
from .subjects import IPERF_PORT, SOCKPERF_PORT, Subject

GIGABYTE = 1e9
PING_BYTES = 64


class TransferFailed(Exception):
    """A transfer did not work; its figures would mean nothing."""


@dataclass(frozen=True)
class Test:
    name: str
    flows: int
    iperf: tuple[str, ...] = ()
    """Options of iperf3; without any the test is the TCP ping-pong."""


TESTS = (
    Test("up1", 1, ("--parallel", "1")),
    Test("down1", 1, ("--parallel", "1", "--reverse")),
    Test("up4", 4, ("--parallel", "4")),
    Test("down4", 4, ("--parallel", "4", "--reverse")),
    Test("up16", 16, ("--parallel", "16")),
    Test("both1", 2, ("--parallel", "1", "--bidir")),
    Test("latency_p50", 1),
)


@dataclass
class Run:
    """One line of `runs` in the result file. gbps is what the receivers got, both ways together; p50 and p99 are half round trips."""

    round: int
    subject: str
    path: str
    test: str
    flows: int
    gbps: float | None = None
    cpu_s_per_gb: dict[str, float] = field(default_factory=dict)
    machine_busy: float = 0.0
    foreign_cpu: float = 0.0
    rss_kb: dict[str, int] = field(default_factory=dict)
    rss_anon_kb: dict[str, int] = field(default_factory=dict)
    p50_us: float | None = None
    p99_us: float | None = None

    @property
    def label(self) -> str:
        return f"{self.subject} {self.path}"


def run_test(lab: Lab, subject: Subject, test: Test, round_number: int, seconds: float) -> Run:
    run = Run(round_number, subject.name, subject.path, test.name, test.flows)
    subject.prepare()
    meter = Meter(lab, subject.processes)
    if test.iperf:
        report = _iperf(lab, subject, test, seconds)
        cost = meter.stop()
        ways = [report["end"][name] for name in ("sum_received", "sum_received_bidir_reverse") if name in report["end"]]
        received = float(sum(way["bytes"] for way in ways))
        run.gbps = round(sum(way["bits_per_second"] for way in ways) / 1e9, 3)
        run.cpu_s_per_gb = {name: round(used / (received / GIGABYTE), 3) for name, used in cost.cpu_s.items()}
        run.cpu_s_per_gb |= _iperf_cpu(report, received)
    else:
        run.p50_us, run.p99_us = _ping_pong(lab, subject, seconds)
        cost = meter.stop()
    run.machine_busy, run.foreign_cpu = round(cost.machine_busy, 3), round(cost.foreign_cpu, 3)
    run.rss_kb, run.rss_anon_kb = cost.rss_kb, cost.rss_anon_kb
    return run


def _iperf(lab: Lab, subject: Subject, test: Test, seconds: float) -> dict[str, Any]:
    # Over a long line the far end hears of the last transfer's end later than this one does.
    return await_true("the far end is free", lambda: _try_iperf(lab, subject, test, seconds), 60)


def _try_iperf(lab: Lab, subject: Subject, test: Test, seconds: float) -> dict[str, Any] | None:
    argv = ["iperf3", "--client", subject.address, "--port", str(IPERF_PORT), "--time", f"{seconds:g}", "--json"]
    # 256 KiB writes: smaller ones measure iperf3's own system calls.
    argv += ["--length", "256K", "--connect-timeout", "5000", *test.iperf]
    try:
        result = lab.host("laptop").run(*argv, check=False, seconds=seconds + 30)
        report: dict[str, Any] = json.loads(result.stdout)
    except (LabError, ValueError) as error:
        raise TransferFailed(f"{subject.name} {test.name}: {error}") from None
    if "busy" in report.get("error", ""):
        return None
    if "error" in report or not report["end"]["sum_received"]["bytes"]:
        raise TransferFailed(f"{subject.name} {test.name}: {report.get('error', 'nothing was received')}")
    return report


def _iperf_cpu(report: dict[str, Any], received: float) -> dict[str, float]:
    """What the two ends of iperf3 themselves used; they share the machine with the subject."""
    usage, seconds = report["end"]["cpu_utilization_percent"], report["end"]["sum_received"]["seconds"]
    ends = {"iperf3@laptop": usage["host_total"], "iperf3@nginx": usage["remote_total"]}
    return {name: round(percent / 100 * seconds / (received / GIGABYTE), 3) for name, percent in ends.items()}


def _ping_pong(lab: Lab, subject: Subject, seconds: float) -> tuple[float, float]:
    argv = ["sockperf", "ping-pong", "--tcp", "-i", subject.address, "-p", str(SOCKPERF_PORT)]
    argv += ["-t", str(max(1, int(seconds))), "-m", str(PING_BYTES)]
    try:
        result = lab.host("laptop").run(*argv, check=False, seconds=seconds + 30)
    except LabError as error:
        raise TransferFailed(f"{subject.name} latency: {error}") from None
    text = result.stdout + result.stderr
    found = dict(re.findall(r"percentile (50|99)\.0+ *= *([0-9.]+)", text))
    if result.returncode != 0 or set(found) != {"50", "99"}:
        raise TransferFailed(f"{subject.name} latency: sockperf said: {text.strip()[-500:]}")
    return float(found["50"]), float(found["99"])
