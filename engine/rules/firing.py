"""When a component with fire patterns fires (engine.md §2 "firePatterns"). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

Row = Sequence[object]


def fires(
    patterns: Sequence[Row],
    ports: Sequence[str],
    queued: Mapping[str, Sequence[str]],
    senders: Mapping[str, Set[str]],
) -> bool:
    """`queued` are the senders of the messages waiting at each port; `senders` those linked to it.

    One matching row is enough; a row has one symbol per in port.
    """
    return any(
        all(
            _holds(symbol, queued.get(port, ()), senders.get(port, frozenset()))
            for symbol, port in zip(row, ports, strict=True)
        )
        for row in patterns
    )


def _holds(symbol: object, waiting: Sequence[str], linked: Set[str]) -> bool:
    if symbol == "*":
        return True
    if symbol == "A":
        return bool(linked) and linked <= set(waiting)
    return len(waiting) > 0 if symbol == 1 else not waiting
