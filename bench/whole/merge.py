"""One result of several: their names of tests differ, so their runs, ratios and targets stand side by side."""

from __future__ import annotations

from typing import Any


def merge(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Dictionaries are joined, lists are put one after the other; of two other values the first one counts.

    `noisy` is said when one of them was.
    """
    merged: dict[str, Any] = {}
    for result in results:
        _join(merged, result)
    return merged


def _join(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        known = into.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            _join(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            known.extend(value)
        elif key == "noisy":
            into[key] = bool(known) or value
        elif key not in into:
            # Copied: what is joined later must not change the result that it came from.
            into[key] = merge([value]) if isinstance(value, dict) else list(value) if isinstance(value, list) else value
