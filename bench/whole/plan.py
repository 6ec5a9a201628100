"""What `all` and `quick` run, and how long each step takes on two cores."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    name: str
    words: tuple[str, ...]
    """The verb and its options."""
    seconds: float
    """About; after three times that it is given up."""
    takes_noise: bool = True
    """It has --allow-noise."""


def _step(name: str, seconds: float, options: str, takes_noise: bool = True) -> Step:
    return Step(name, tuple(options.split()), seconds, takes_noise)


ALL = (
    _step("throughput", 680, "throughput --rounds 3 --seconds 4"),
    _step("throughput, no offloads", 160, "throughput --wire --tests up1,down1 --rounds 3 --seconds 3"),
    _step("throughput, jumbo", 160, "throughput --mtu 9000 --tests up1,down1 --rounds 3 --seconds 3"),
    _step("latency", 620, "latency --rounds 3 --seconds 2"),
    _step("connections", 110, "connections --rounds 3 --seconds 4"),
    _step("memory", 450, "memory", takes_noise=False),
    _step("relay", 20, "relay", takes_noise=False),
    _step("wan", 900, "wan --rounds 2 --seconds 4"),
)
"""Below an hour together."""

_PAIR = "--subjects wireguard-go,postern-direct"

QUICK = (
    _step("throughput", 95, "throughput --rounds 2 --seconds 2 --tests up1,down1"),
    _step("throughput, no offloads", 45, f"throughput --wire --tests up1,down1 --rounds 2 --seconds 2 {_PAIR}"),
    _step("latency", 55, "latency --rounds 2 --seconds 2 --tests latency_p50"),
    _step("connections", 40, f"connections --rounds 2 --seconds 3 {_PAIR}"),
    _step("memory", 65, "memory --flows 1000 --clients 30", takes_noise=False),
    _step("relay", 15, "relay", takes_noise=False),
    _step("wan", 65, "wan --rounds 2 --seconds 5 --conditions rtt100_loss1 --subjects wireguard-go,postern-relay"),
)
"""Below eight minutes together."""
