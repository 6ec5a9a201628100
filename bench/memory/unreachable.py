"""Client and connector while the server does not answer: what they hold minute by minute, and how fast it grows."""

from __future__ import annotations

import threading
import time
from typing import Any

from lab.testbed import Lab, say
from lab.topology import SERVER, SERVER6

from .rest import rss_anon_kb

PROCESSES = ("posternd", "postern-connector")
SETTLE_SECONDS = 60.0
"""What is held while the loss is noticed is no growth."""


def measure(lab: Lab, minutes: int) -> dict[str, Any]:
    """Cuts the server off, for good."""
    ends = [(family, address, way) for family, address in (("ip", SERVER), ("ip6", SERVER6)) for way in ("saddr", "daddr")]
    cut = "\n".join(f"{family} {way} {address} drop" for family, address, way in ends)
    chain = f"chain forward {{ type filter hook forward priority -20;\n{cut}\n}}"
    for router in ("laptop-nat", "home-nat"):
        lab.host(router).run("nft", "-f", "-", text=f"table inet no_server {{\n{chain}\n}}\n")
    started = time.monotonic()
    _await(started + SETTLE_SECONDS)
    samples: list[dict[str, Any]] = []
    for minute in range(minutes + 1):
        _await(started + SETTLE_SECONDS + 60 * minute)
        samples.append({"minute": minute, "rss_anon_kb": rss_anon_kb(lab, PROCESSES)})
        say(f"unreachable for {minute + 1} minutes: {samples[-1]['rss_anon_kb']}")
    slopes = {name: round(slope([each["rss_anon_kb"][name] for each in samples]) * 60, 1) for name in PROCESSES}
    return {"minutes": minutes, "samples": samples, "kb_per_hour": slopes}


def slope(values: list[int]) -> float:
    """Of the line through equidistant values that fits best (least squares), for each step."""
    middle = (len(values) - 1) / 2
    mean = sum(values) / len(values)
    spread = sum((at - middle) ** 2 for at in range(len(values)))
    return sum((at - middle) * (value - mean) for at, value in enumerate(values)) / spread if spread else 0.0


def _await(moment: float) -> None:
    """Time itself is what is measured over."""
    threading.Event().wait(max(0.0, moment - time.monotonic()))
