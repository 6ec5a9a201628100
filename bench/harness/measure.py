"""One transfer, one ping-pong, or one beside the other, from the laptop to the target, with what it cost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lab.testbed import Lab, LabError, await_true

from .accounting import Cost, Meter
from .session import build
from .subject import ECHO_PORT, FLOW_PORTS, IPERF_PORT, Subject

GIGABYTE = 1e9
SLACK_SECONDS = 30.0
"""How much longer than asked for a measurement may take before it has failed."""
_BUSY = ("busy", "unable to receive control message")
"""What iperf3 says when the far end still has another transfer; over a lossy line its refusal may be a reset alone."""
FLOW_PORT = FLOW_PORTS.partition("-")[0]


class TransferFailed(Exception):
    """A transfer did not work; its figures would mean nothing."""


@dataclass(frozen=True)
class Test:
    __test__ = False  # Not one of pytest's.
    name: str
    flows: int
    iperf: tuple[str, ...] = ()
    """Options of iperf3 for the bulk transfer, if there is one."""
    probe: str = ""
    """What measures time, beside the bulk transfer or alone: tcp or udp (a ping-pong), connect; empty: nothing."""


@dataclass
class Run:
    """One line of `runs` in the result file.

    gbps is what the receivers got, both ways together. p50 and p99 are half round trips, or the time that connect()
    took; of a test that measures both, bulk_gbps is what went on beside it.
    """

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
    bulk_gbps: float | None = None

    @property
    def label(self) -> str:
        return f"{self.subject} {self.path}"

    def set_cost(self, cost: Cost) -> None:
        self.machine_busy, self.foreign_cpu = round(cost.machine_busy, 3), round(cost.foreign_cpu, 3)
        self.rss_kb, self.rss_anon_kb = cost.rss_kb, cost.rss_anon_kb


def run_test(lab: Lab, subject: Subject, test: Test, round_number: int, seconds: float) -> Run:
    run = Run(round_number, subject.name, subject.path, test.name, test.flows)
    try:
        subject.prepare()
    except LabError as error:
        raise TransferFailed(f"{run.label} {test.name}: {error}") from None
    meter = Meter(lab, subject.processes)
    if not test.probe:
        _measure_bulk(lab, subject, test, seconds, run, meter)
    elif test.iperf:
        with _bulk_beside(lab, subject, test, seconds) as bulk:
            run.p50_us, run.p99_us = _probe(lab, subject, test, seconds)
        run.bulk_gbps = bulk["gbps"]
        run.set_cost(meter.stop())
    else:
        run.p50_us, run.p99_us = _probe(lab, subject, test, seconds)
        run.set_cost(meter.stop())
    return run


def _measure_bulk(lab: Lab, subject: Subject, test: Test, seconds: float, run: Run, meter: Meter) -> None:
    # Over a long line the far end hears of the last transfer's end later than this one does.
    report = await_true("the far end is free", lambda: _try_iperf(lab, subject, test, seconds), 60)
    cost = meter.stop()
    received, rate = _received(report)
    run.gbps = round(rate, 3)
    run.cpu_s_per_gb = {name: round(used / (received / GIGABYTE), 3) for name, used in cost.cpu_s.items()}
    run.cpu_s_per_gb |= _iperf_cpu(report, received)
    run.set_cost(cost)


def _received(report: dict[str, Any]) -> tuple[float, float]:
    """(bytes, Gb/s) that arrived, both ways together."""
    ways = [report["end"][name] for name in ("sum_received", "sum_received_bidir_reverse") if name in report["end"]]
    return float(sum(way["bytes"] for way in ways)), sum(way["bits_per_second"] for way in ways) / 1e9


def _iperf_argv(subject: Subject, test: Test, seconds: float) -> list[str]:
    argv = ["iperf3", "--client", subject.address, "--port", str(IPERF_PORT), "--time", f"{seconds:g}", "--json"]
    # 256 KiB writes: smaller ones measure iperf3's own system calls.
    return [*argv, "--length", "256K", "--connect-timeout", "5000", *test.iperf]


def _try_iperf(lab: Lab, subject: Subject, test: Test, seconds: float) -> dict[str, Any] | None:
    try:
        argv = _iperf_argv(subject, test, seconds)
        said = lab.host("laptop").run(*argv, check=False, seconds=seconds + SLACK_SECONDS).stdout
    except LabError as error:
        raise TransferFailed(f"{subject.name} {test.name}: {error}") from None
    return _read_report(said, f"{subject.name} {test.name}")


def _read_report(said: str, what: str) -> dict[str, Any] | None:
    """iperf3's report; None when the far end still had another one."""
    try:
        report: dict[str, Any] = json.loads(said)
    except ValueError as error:
        raise TransferFailed(f"{what}: iperf3 said no JSON: {error}") from None
    if any(words in report.get("error", "") for words in _BUSY):
        return None
    if "error" in report or not report["end"]["sum_received"]["bytes"]:
        raise TransferFailed(f"{what}: {report.get('error', 'nothing was received')}")
    return report


@contextmanager
def _bulk_beside(lab: Lab, subject: Subject, test: Test, seconds: float) -> Iterator[dict[str, float]]:
    """A bulk transfer that runs within the block; what it carried is there after it."""
    what = f"{subject.name} {test.name}, the transfer beside it"
    carried: dict[str, float] = {}
    flowing = ["sh", "-c", f"ss -Htn state established sport = :{IPERF_PORT} | wc -l"]
    # Longer than the probe takes with its start and its end, so that it never measures an idle line.
    argv = _iperf_argv(subject, test, seconds + 3)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    await_true(f"{what}: the far end is free", lambda: lab.host("nginx").output(*flowing) == "0", 60)
    process = lab.host("laptop").popen(*argv, **pipes)
    try:
        # One connection of iperf3 controls the others.
        wanted = test.flows + 1
        await_true(f"{what} runs", lambda: int(lab.host("nginx").output(*flowing)) >= wanted, 20)
        yield carried
        said, _ = process.communicate(timeout=seconds + SLACK_SECONDS)
    except subprocess.TimeoutExpired:
        raise TransferFailed(f"{what}: did not end") from None
    except LabError as error:
        raise TransferFailed(str(error)) from None
    finally:
        process.kill()
        process.wait()
    report = _read_report(said, what)
    if report is None:
        raise TransferFailed(f"{what}: the far end was busy")
    carried["gbps"] = round(_received(report)[1], 3)


def _iperf_cpu(report: dict[str, Any], received: float) -> dict[str, float]:
    """What the two ends of iperf3 themselves used; they share the machine with the subject."""
    usage, seconds = report["end"]["cpu_utilization_percent"], report["end"]["sum_received"]["seconds"]
    ends = {"iperf3@laptop": usage["host_total"], "iperf3@nginx": usage["remote_total"]}
    return {name: round(percent / 100 * seconds / (received / GIGABYTE), 3) for name, percent in ends.items()}


def _probe(lab: Lab, subject: Subject, test: Test, seconds: float) -> tuple[float, float]:
    """(p50, p99) in µs."""
    try:
        if test.probe == "connect":
            return _connects(lab, subject, seconds)
        return _ping_pong(lab, subject, seconds, test.probe)
    except LabError as error:
        raise TransferFailed(f"{subject.name} {test.name}: {error}") from None


def _ping_pong(lab: Lab, subject: Subject, seconds: float, protocol: str) -> tuple[float, float]:
    """Messages of 64 bytes, each sent when the one before has come back; half round trips."""
    argv = [str(build("flow_load")), "ping", protocol, subject.address, str(ECHO_PORT), f"{seconds:g}"]
    report = json.loads(lab.host("laptop").output(*argv, seconds=seconds + SLACK_SECONDS))
    return report["p50_us"], report["p99_us"]


def _connects(lab: Lab, subject: Subject, seconds: float) -> tuple[float, float]:
    """One TCP connection after the other, each reset as soon as it is there."""
    said = lab.host("laptop").output(str(build("flow_load")), "open", subject.address, FLOW_PORT, f"{seconds:g}", "1")
    report = json.loads(said)
    if not report["opened"]:
        raise LabError(f"no connection was opened, {report['failed']} failed")
    return report["p50_us"], report["p99_us"]

