"""What the benches compute of what they measured, what `all` makes of its parts, and the page made of the result."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from lab.paths import REPO

sys.path.insert(0, str(REPO / "bench"))

from harness import report, subjects  # noqa: E402 - the path must be set first
from harness.measure import Run  # noqa: E402
from latency.cli import line_factors  # noqa: E402
from memory.cli import per_flow  # noqa: E402
from memory.unreachable import slope  # noqa: E402
from page import cli as page  # noqa: E402
from page.figures import figures  # noqa: E402
from page.plot import Bar, Group, draw, number  # noqa: E402
from throughput.cli import prefix  # noqa: E402
from whole.cli import run_steps  # noqa: E402
from whole.merge import merge  # noqa: E402
from whole.plan import ALL, QUICK, Step  # noqa: E402


def _result(test: str, ours: float) -> dict[str, Any]:
    values = {("postern", "direct"): ours, ("wireguard-go", "direct"): 2.0, ("bare", "bare"): 9.0}
    runs = [Run(1, name, path, test, 1, gbps=value) for (name, path), value in values.items()]
    return report.compose(runs, {}, False, {})


def _steps(*names: str) -> list[Step]:
    return [Step(name, (name,), 1.0) for name in names]


def test_results_of_several_verbs_stand_side_by_side_in_one() -> None:
    parts = [_result("up1", 6.0), _result("wire_up1", 5.0)]
    merged = merge(parts)
    assert merged["ratios"] == {"direct": {"up1": 3.0, "wire_up1": 2.5}}
    assert len(merged["runs"]) == 6 and set(merged["medians"]) == {"up1", "wire_up1"}
    assert merged["targets"]["direct.up1"]["met"] and merged["targets"]["wire.up1"]["met"]
    assert len(parts[0]["runs"]) == 3, "what was merged is as before"


def test_one_noisy_part_makes_the_whole_noisy() -> None:
    assert merge([{"noisy": False}, {"noisy": True}, {"noisy": False}])["noisy"] is True


def test_a_step_that_fails_is_named_and_does_not_stop_the_rest() -> None:
    def run(step: Step) -> tuple[str, dict[str, Any]]:
        return ("exit code 1", {"a": 1}) if step.name == "first" else ("", {"b": 2})

    saved: list[dict[str, Any]] = []
    merged = run_steps(_steps("first", "second"), run, saved.append)
    assert [set(each["seconds"]) for each in saved] == [{"first"}, {"first", "second"}], "what is there survives an end"
    assert (merged["a"], merged["b"]) == (1, 2)
    assert merged["failed"] == {"step first": "exit code 1"} and set(merged["seconds"]) == {"first", "second"}


def test_the_plans_keep_their_time() -> None:
    assert sum(step.seconds for step in ALL) < 3600 and sum(step.seconds for step in QUICK) < 480


@pytest.mark.parametrize("step", [*ALL, *QUICK], ids=lambda step: f"{step.name} {step.seconds:g}")
def test_every_step_is_a_command_line_that_its_verb_takes(step: Step) -> None:
    verb = importlib.import_module(f"{step.words[0]}.cli")
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    words = [*step.words[1:], "--json", "FILE", *(["--allow-noise"] if step.takes_noise else [])]
    options = vars(parser.parse_args(words))
    subjects.choose(options.get("subjects", "bare"), list(subjects.STARTERS), "subject")
    known = [test.name for test in (*getattr(verb, "TESTS", ()), *getattr(verb, "LINE_TESTS", ()))]
    subjects.choose(options.get("tests", known[0] if known else ""), known or [""], "test")
    conditions = [condition.name for condition in getattr(verb, "CONDITIONS", ())] or [""]
    subjects.choose(options.get("conditions", ""), conditions, "condition")


def test_tests_over_other_links_have_names_of_their_own() -> None:
    assert [prefix(1500, False), prefix(1500, True), prefix(9000, False)] == ["", "wire_", "mtu9000_"]
    assert prefix(9000, True) == "mtu9000_wire_"


def test_growth_is_that_of_the_line_that_fits_best() -> None:
    assert slope([5, 7, 9, 11]) == pytest.approx(2.0) and slope([5, 9, 5, 9, 5]) == pytest.approx(0.0)
    assert slope([3]) == 0.0


def test_a_flow_costs_what_the_highest_level_has_over_none() -> None:
    levels = [{"flows": flows, "rss_anon_kb": {"posternd": kilobytes}} for flows, kilobytes in ((0, 2000), (1000, 3000))]
    assert per_flow(levels, "posternd") == 1024.0


def test_waiting_on_a_full_line_is_told_in_times_of_the_idle_one() -> None:
    values = {"line_idle": 20.0, "line_beside_up": 30.0, "latency_p50": 1.0}
    runs = [Run(1, "postern", "direct", test, 1, p50_us=value) for test, value in values.items()]
    runs.append(Run(1, "bare", "bare", "line_beside_up", 1, p50_us=50.0))
    assert line_factors(runs) == {"line_beside_up": {"postern direct": 1.5}}


def test_a_plot_is_xml_with_a_bar_for_each_value_and_a_line_for_each_goal() -> None:
    svg = draw("a < b", [Group("g", [Bar("openvpn", 4.0), Bar("postern direct", 2.0, goal=3.0)]), Group("empty")])
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    bars = [float(each.get("width", "0")) for each in root.findall(f"{space}rect")[1:]]
    [goal] = root.findall(f"{space}line")
    assert len(bars) == 2 and bars[0] == pytest.approx(2 * bars[1], abs=0.2)
    left = float(root.findall(f"{space}rect")[1].get("x", "0"))
    assert float(goal.get("x1", "0")) - left == pytest.approx(bars[1] * 1.5, abs=0.2)
    words = [each.text for each in root.findall(f"{space}text")]
    assert "a < b" in words and "g" in words and "empty" not in words


def test_what_the_bare_path_has_more_is_cut_off_and_told() -> None:
    root = ElementTree.fromstring(draw("t", [Group("g", [Bar("bare", 40.0), Bar("postern direct", 2.0)])]))
    space = "{http://www.w3.org/2000/svg}"
    bare, ours = (float(each.get("width", "0")) for each in root.findall(f"{space}rect")[1:])
    assert bare == ours and "40 (cut off)" in [each.text for each in root.findall(f"{space}text")]


def test_numbers_have_three_digits_that_count() -> None:
    assert [number(each) for each in (0.012345, 2.345, 12.34, 123.4, 123456.0)] == ["0.0123", "2.35", "12.3", "123", "123 456"]


def test_a_goal_over_the_peer_is_drawn_where_it_is() -> None:
    [figure] = [each for each in figures(_result("up1", 6.0)) if each.file == "throughput"]
    goals = {bar.label: bar.goal for group in figure.groups for bar in group.bars}
    assert goals == {"postern direct": 5.0, "wireguard-go": None, "bare": None}


def test_the_page_has_each_target_its_goal_and_only_plots_that_are_there(tmp_path: Path) -> None:
    source = tmp_path / "result.json"
    result = merge([_result("up1", 4.0), {"failed": {"step wan": "exit code 1"}}])
    source.write_text(json.dumps(result), encoding="utf-8")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "old.svg").write_text("old", encoding="utf-8")
    assert page.main(argparse.Namespace(source=source, docs=tmp_path)) == 0
    text = (tmp_path / "benchmarks.md").read_text("utf-8")
    assert "| direct.up1 |" in text and "≥ 2.5 (stretch 3.5) | **missed** |" in text and "wan: exit code 1" in text
    plots = {each.name for each in (tmp_path / "benchmarks").iterdir()}
    assert plots == {"targets.svg", "throughput.svg"}
    assert all(f"(benchmarks/{name})" in text for name in plots)


def test_a_file_that_is_no_result_is_refused_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert page.main(argparse.Namespace(source=tmp_path / "none", docs=tmp_path)) == 2
    assert "./dev bench all --json FILE" in capsys.readouterr().err
