"""The bench judges others, so it is judged here: what it computes, and when it refuses to."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.paths import REPO
from lab.testbed import Lab, await_true
from lab.topology import INTERNET, SERVER, SERVER_NAME

sys.path.insert(0, str(REPO / "bench"))

from harness import ours, report, subject, subjects  # noqa: E402 - the path must be set first
from harness.accounting import Meter, foreign_ticks, growth  # noqa: E402
from harness.measure import Run, Test, TransferFailed, run_test  # noqa: E402
from harness.network import ETHERNET_MTU  # noqa: E402

BURN = "while True: pass"
UP, DOWN = Test("up1", 1, ("--parallel", "1")), Test("down1", 1, ("--parallel", "1", "--reverse"))
PING, PING_UDP = Test("latency_p50", 1, probe="tcp"), Test("latency_udp", 1, probe="udp")


def _runs(subject: str, path: str, test: str, values: list[float]) -> list[Run]:
    """One run per value, from round 0 on."""
    latency = test.startswith("latency")
    return [
        Run(number, subject, path, test, 1, **({"p50_us": value} if latency else {"gbps": value}))
        for number, value in enumerate(values)
    ]


def _both(test: str, number: int = 1, factor: float = 1.0, foreign: float = 0.0) -> list[Run]:
    """A warm-up and one round, ours twice as fast as the peer, or `factor` times that."""
    found = []
    for subject_name, path, value in (("postern", "relay", 4.0 * factor), ("wireguard-go", "direct", 2.0)):
        found += [Run(each, subject_name, path, test, 1, gbps=value, foreign_cpu=foreign) for each in (0, number)]
    return found


def test_ratios_are_ours_over_the_peers_of_medians_without_the_warm_up() -> None:
    runs = _runs("postern", "relay", "up1", [100.0, 4.0, 6.0, 5.0])
    runs += _runs("wireguard-go", "direct", "up1", [0.001, 2.0, 1.0, 3.0])
    runs += _runs("postern", "relay", "latency_p50", [1.0, 50.0])
    runs += _runs("wireguard-go", "direct", "latency_p50", [1.0, 100.0])
    runs += _runs("bare", "bare", "up1", [9.0, 9.0])
    assert report.ratios(runs) == {"relay": {"up1": 2.5, "latency_p50": 0.5}}


def test_without_the_peer_there_is_no_ratio() -> None:
    assert report.ratios(_runs("postern", "relay", "up1", [1.0, 4.0])) == {}


def test_a_test_with_a_failed_transfer_has_its_figures_but_no_ratios() -> None:
    runs = [run for test in ("up1", "down1") for run in _both(test)]
    result = report.compose(runs, {"postern relay down1": "reset"}, False, {})
    assert len(result["runs"]) == 8 and result["failed"]
    assert result["ratios"] == {"relay": {"up1": 2.0}} and set(result["medians"]) == {"up1"}
    assert "relay.up1" in result["targets"] and "relay.down1" not in result["targets"]


def test_a_round_beside_which_others_worked_is_recorded_and_not_counted() -> None:
    runs = [*_both("up1"), *_both("up1", number=2, factor=9.0, foreign=0.5)]
    assert report.compose(runs, {}, False, {})["ratios"] == {"relay": {"up1": 2.0}}
    result = report.compose(runs, {}, True, {})
    assert result["ratios"] == {"relay": {"up1": 10.0}} and result["noisy"] and len(result["runs"]) == 8


def test_where_all_rounds_were_noisy_there_is_no_ratio() -> None:
    result = report.compose(_both("up1", foreign=0.5), {}, False, {})
    assert result["ratios"] == {} and len(result["failed"]) == 2


def test_targets_are_met_or_missed_in_the_direction_they_name() -> None:
    names = json.loads(report.TARGETS.read_text("utf-8"))["targets"]
    goal_up, goal_latency = names["relay.up1"]["goal"], names["relay.latency_p50"]["goal"]
    judged = report.judge({"ratios": {"relay": {"up1": goal_up, "latency_p50": goal_latency * 1.01}}})
    assert judged["relay.up1"]["met"] and not judged["relay.latency_p50"]["met"]
    assert "direct.up1" not in judged


def test_processes_outside_the_lab_are_foreign_and_those_inside_are_not(lab: Lab) -> None:
    lab.host("laptop").spawn("burner", "/usr/bin/python3", "-c", BURN, "inside")
    outside = subprocess.Popen(["/usr/bin/python3", "-c", BURN, "outside"])
    try:
        meter, inside = Meter(lab, {"burner": "burner"}), _burner("inside")
        await_true("both have used CPU", lambda: min(_ticks(outside.pid), _ticks(inside)) > 50, 30)
        found = foreign_ticks(lab)
        cost = meter.stop()
    finally:
        outside.kill()
        outside.wait()
        lab.stop("burner")
    assert sum(found[outside.pid]) > 50
    assert inside not in found
    assert cost.cpu_s["burner"] > 0.4 and cost.foreign_cpu > 0.1 and cost.machine_busy > 0.5


def test_the_time_of_an_ended_foreign_process_is_not_lost(lab: Lab) -> None:
    before = foreign_ticks(lab)
    # The shell outlives its child, as a build tool outlives its compilers.
    code = "import resource, sys\nwhile sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) < 0.6: pass"
    shell = subprocess.Popen(["sh", "-c", '"$@"; cat', "sh", "/usr/bin/python3", "-c", code], stdin=subprocess.PIPE)
    try:
        await_true("the child has ended", lambda: _waited_ticks(shell.pid) >= 50, 30)
        assert growth(before, foreign_ticks(lab)) >= 50
    finally:
        shell.kill()
        shell.wait()


def test_what_ended_together_with_its_parent_does_not_hide_what_others_used() -> None:
    before = {1: (10, 5), 2: (1000, 0), 3: (0, 2000)}
    assert growth(before, {1: (30, 5)}) == 20
    assert growth(before, {1: (10, 5), 3: (0, 3040)}) == 40, "2 ended: 1000 of the waited-for time was there before"


def test_a_failed_transfer_is_an_error_and_never_a_figure(lab: Lab) -> None:
    nobody = subject.Subject("bare", "bare", "203.0.113.99")
    with pytest.raises(TransferFailed):
        run_test(lab, nobody, UP, 1, 1)
    with pytest.raises(TransferFailed):
        run_test(lab, nobody, PING, 1, 1)


@pytest.fixture(scope="module")
def bare(lab: Lab) -> subject.Subject:
    subject.start_targets(lab)
    return subjects.start_bare(lab, ETHERNET_MTU)


def test_the_bare_path_is_measured_through_both_nats(lab: Lab, bare: subject.Subject) -> None:
    for test in (UP, DOWN):
        run = run_test(lab, bare, test, 1, 1)
        assert run.gbps is not None and run.gbps > 0.1
    run = run_test(lab, bare, PING, 1, 1)
    assert run.p50_us is not None and run.p99_us is not None and 0 < run.p50_us <= run.p99_us


def test_closing_the_direct_way_closes_it_for_all_udp_but_the_other_subjects(lab: Lab, bare: subject.Subject) -> None:
    others = [bare, *subjects.start(lab, "wireguard-go,openvpn", ETHERNET_MTU)]
    assert _is_answered(lab)
    ours.close_direct_way(lab)
    try:
        assert not _is_answered(lab)
        for other in others:
            assert run_test(lab, other, PING_UDP, 1, 1).p50_us
    finally:
        ours.open_direct_way(lab)
    assert _is_answered(lab)


def _is_answered(lab: Lab) -> bool:
    """Whether UDP of the laptop comes back from the internet."""
    ask = ("dig", f"@{INTERNET}", "+time=1", "+tries=1", "+short", SERVER_NAME)
    return SERVER in lab.host("laptop").run(*ask, check=False).stdout


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()


def _ticks(pid: int) -> int:
    return int(_fields(pid)[11]) + int(_fields(pid)[12])


def _waited_ticks(pid: int) -> int:
    return int(_fields(pid)[13]) + int(_fields(pid)[14])


def _burner(word: str) -> int:
    """Process id, as seen here, of the burner that was given this word."""
    wanted = "\0".join(("/usr/bin/python3", "-c", BURN, word)).encode() + b"\0"
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and (folder / "cmdline").read_bytes() == wanted:
                return int(folder.name)
    raise AssertionError(f"no burner {word}")
