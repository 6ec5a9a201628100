"""Which figures the page has, each made from the merged result; one whose values were not measured is left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .plot import Bar, Group, draw, number

PEER = "wireguard-go direct"
DIRECT, RELAY = "postern direct", "postern relay"


@dataclass(frozen=True)
class Figure:
    file: str
    title: str
    text: str
    groups: list[Group] = field(default_factory=list)

    def svg(self) -> str:
        return draw(self.title, self.groups)


def figures(result: dict[str, Any]) -> list[Figure]:
    made = [_targets(result), *_throughput(result), _cpu(result), *_latency(result), _connections(result)]
    made += [*_memory(result), _relay(result), *_wan(result)]
    return [figure for figure in made if any(group.bars for group in figure.groups)]


def _targets(result: dict[str, Any]) -> Figure:
    """Every target on one scale: how much of its goal is reached, so that more is always better."""
    bars = []
    for name, target in result.get("targets", {}).items():
        reached = _share(target)
        words = f"{number(target['value'])} of {target['op']} {number(target['goal'])}"
        bars.append(Bar(name, min(reached, 3.0), 1.0, words))
    text = (
        "Each bar is the value over its goal, or the goal over the value where less is better, cut off at three times; the"
        " line is the goal."
    )
    return Figure("targets", "Targets: share of the goal that is reached", text, [Group("", bars)])


def _share(target: dict[str, Any]) -> float:
    value, goal = target["value"], target["goal"]
    if target["op"] == ">=":
        return value / goal
    return goal / value if value > 0 else 3.0


def _group(result: dict[str, Any], test: str, title: str, goals: dict[str, float]) -> Group:
    """Medians of one test; a goal is so many times what the peer has."""
    found = result.get("medians", {}).get(test, {})
    peer = found.get(PEER)
    bars = [
        Bar(_shown(name), value, goals[name] * peer if name in goals and peer else None) for name, value in found.items()
    ]
    return Group(title, bars)


def _shown(label: str) -> str:
    """Only Postern has more than one path."""
    return label if label.startswith("postern") else label.split()[0]


def _throughput(result: dict[str, Any]) -> list[Figure]:
    words = {"up": "from the laptop", "down": "to the laptop", "both": "both ways together"}
    goals = {DIRECT: 2.5, RELAY: 2.0}
    single = [_group(result, f"{way}1", f"one flow {words[way]}", goals) for way in ("up", "down")]
    several = [
        _group(result, f"{way}{flows}", f"{flows} flow{'s' if flows > 1 else ''} {words[way]}", {})
        for way, flows in (("up", 4), ("down", 4), ("up", 16), ("down", 16), ("both", 1))
    ]
    wire = [_group(result, f"wire_{way}1", f"one flow {words[way]}", {DIRECT: 2.0}) for way in ("up", "down")]
    jumbo = [_group(result, f"mtu9000_{way}1", f"one flow {words[way]}", {}) for way in ("up", "down")]
    over = "Lines are the goals: {} times wireguard-go."
    return [
        Figure("throughput", "One TCP flow, Gb/s", over.format("2.5 (direct) and 2 (relay)"), single),
        Figure("flows", "Several TCP flows, Gb/s", "", several),
        Figure(
            "wire",
            "One TCP flow, packets of the links' size, Gb/s",
            "The internet's links have no offloads, as a plain network card. " + over.format("2"),
            wire,
        ),
        Figure(
            "jumbo",
            "One TCP flow, MTU 9000 everywhere, Gb/s",
            "Postern's packets stay at 1452 bytes or less, the peers' grow with the links.",
            jumbo,
        ),
    ]


def _cpu(result: dict[str, Any]) -> Figure:
    tests = result.get("cpu_s_per_gb", {}).get("direct", {})
    names = {"posternd": "client", "postern-connector": "connector"}
    groups = [
        Group(title, [Bar(names[name], value, 0.95) for name, value in tests.get(test, {}).items() if name in names])
        for test, title in (("up1", "one flow from the laptop"), ("down1", "one flow to the laptop"))
    ]
    return Figure("cpu", "CPU, direct, seconds per GB", "Less is better; lines are the goal, 0.95.", groups)


def _latency(result: dict[str, Any]) -> list[Figure]:
    goals = {DIRECT: 1.0, RELAY: 1.0}
    idle = [
        _group(result, "latency_p50", "TCP, 64 bytes, half round trip", goals),
        _group(result, "latency_udp", "UDP, 64 bytes, half round trip", goals),
        _group(result, "latency_connect", "connect()", {}),
    ]
    beside = [
        _group(result, "latency_beside_up", "beside a bulk transfer from the laptop", {}),
        _group(result, "latency_beside_down", "beside a bulk transfer to the laptop", {}),
    ]
    factors = result.get("line_factor", {})
    line = [
        Group(title, [Bar(_shown(name), value, 2.0) for name, value in factors.get(test, {}).items()])
        for test, title in (
            ("line_beside_up", "beside a bulk transfer from the laptop"),
            ("line_beside_down", "beside a bulk transfer to the laptop"),
        )
    ]
    return [
        Figure("latency", "Latency, idle, p50 in µs", "Less is better; lines are wireguard-go's value.", idle),
        Figure("beside", "Latency beside a bulk transfer as fast as it can be, p50 in µs", "Less is better.", beside),
        Figure(
            "line",
            "A key typed while a 50 Mb/s, 40 ms line is full: times the idle round trip",
            "Less is better; lines are the goal, twice.",
            line,
        ),
    ]


def _connections(result: dict[str, Any]) -> Figure:
    bars = []
    for name, paths in result.get("flows_per_s", {}).items():
        for path, rate in paths.items():
            label = _shown(f"{name} {path}")
            bars.append(Bar(label, rate, 10_000 if label == DIRECT else None))
    return Figure("connections", "New TCP flows per second", "The line is the goal, 10 000.", [Group("", bars)])


def _memory(result: dict[str, Any]) -> list[Figure]:
    names = {"posternd": "client", "postern-connector": "connector"}
    flows = result.get("bytes_per_flow", {})
    per_flow = [Bar(names[name], flows[name], 2048 if name == "posternd" else None) for name in names if name in flows]
    levels = [
        Group(
            f"{level['flows']:,} idle flows".replace(",", " "),
            [Bar(names[name], level["rss_anon_kb"][name] / 1000) for name in names if name in level["rss_anon_kb"]],
        )
        for level in result.get("levels", [])
    ]
    clients = result.get("clients", {})
    per_client = [Bar("connector", clients["bytes_per_client"], 51_200)] if "bytes_per_client" in clients else []
    return [
        Figure(
            "memory",
            "RssAnon with idle flows, MB",
            "A connector needs a file for each flow and a process has 20 000 at most here, so flows are spread over a connector"
            " for each 15 000; its bar is all of them together.",
            levels,
        ),
        Figure("per_flow", "Bytes per idle flow", "The line is the goal, 2 KB at the client.", [Group("", per_flow)]),
        Figure(
            "per_client",
            "Bytes per idle client at the connector",
            f"With {clients.get('clients', 0)} clients, each signed in and with a session. The line is the goal, 50 KB.",
            [Group("", per_client)],
        ),
    ]


def _relay(result: dict[str, Any]) -> Figure:
    ways = result.get("relay", {}).get("ways", {})
    bars = [Bar(name, way["packets_per_s"] / 1e6, 1.0 if name == "single_100" else None) for name, way in ways.items()]
    text = "In memory, one core, without sockets; single_100 are packets of 100 bytes. The line is the goal, 1 million."
    return Figure("relay", "The relay's core: million packets per second", text, [Group("", bars)])


def _wan(result: dict[str, Any]) -> list[Figure]:
    found = []
    for delay in (20, 100):
        groups = [
            _group(
                result,
                f"rtt{delay}_loss{loss.replace('.', 'p')}_{way}",
                f"{loss} % loss, {words} the laptop",
                {RELAY: 5.0} if (delay, loss) == (100, "1") else {},
            )
            for loss in ("0", "0.1", "1", "3")
            for way, words in (("up", "from"), ("down", "to"))
        ]
        goal = " Lines are the goal at 1 % loss: 5 times wireguard-go." if delay == 100 else ""
        text = f"The line has 300 Mb/s, a queue of 50 ms, and loses in both directions.{goal}"
        found.append(Figure(f"wan{delay}", f"One TCP flow over {delay} ms, Gb/s", text, groups))
    return found
