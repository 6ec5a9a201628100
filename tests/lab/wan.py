"""A long way between the laptop's network and the rest of the internet: delay, loss, rate and queue (tests/wan)."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from .paths import TOOLS
from .testbed import Lab, LabError, await_true

_BOX = "wan-box"
_HOST = "internet"
_PORT = "p-laptop-nat"
_LEFT, _RIGHT = "wan-in", "wan-out"
_OFF = [item for feature in ("tx", "tso", "gso", "gro", "tx-udp-segmentation") for item in (feature, "off")]


@dataclass(frozen=True)
class Line:
    round_trip_ms: float = 0.0
    loss_percent: float = 0.0
    """In each direction."""
    rate_mbit: float = 1000.0
    queue_ms: float = 50.0
    """What waits longer than that for the line is dropped."""
    seed: int = 1


class Wan:
    """Puts the box between the laptop's router and the internet while it is open; `set` changes the line."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._host = lab.host(_HOST)

    def __enter__(self) -> Wan:
        run = self._host.run
        self._lab.host("laptop-nat").run("ethtool", "-K", "wan", *_OFF)
        run("ip", "link", "add", _LEFT, "type", "veth", "peer", "name", _RIGHT)
        for device in (_LEFT, _RIGHT, _PORT):
            run("ethtool", "-K", device, *_OFF)
        run("ip", "link", "set", _PORT, "nomaster")
        run("ip", "link", "set", _RIGHT, "master", "br0")
        for device in (_LEFT, _RIGHT):
            run("ip", "link", "set", device, "up")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._lab.is_running(_BOX):
            self._lab.stop(_BOX)
        self._host.run("ip", "link", "del", _LEFT)
        self._host.run("ip", "link", "set", _PORT, "master", "br0")

    def set(self, line: Line) -> None:
        if self._lab.is_running(_BOX):
            self._lab.stop(_BOX)
        if not (TOOLS / "wan_box").exists():
            raise LabError(f"wan_box not found in {TOOLS}: build first with `./dev build`")
        numbers = (
            line.round_trip_ms / 2 * 1000,
            line.loss_percent * 10_000,
            line.rate_mbit * 1000,
            line.queue_ms * 1000,
            line.seed,
        )
        self._host.spawn(_BOX, str(TOOLS / "wan_box"), _PORT, _LEFT, *(str(round(each)) for each in numbers))
        await_true("the line is there", lambda: "ready" in self._lab.log(_BOX), 10)
