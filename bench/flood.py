"""A flood in one flow, and how long the calls of fifty others take meanwhile: `python -m bench.flood`.

Each of the other flows calls a local server that answers in 5 ms and then answers its own caller; all of
them get calls at a fixed rate. The flood is 200,000 messages of one flow that wait for a step: one that is
done at once, then one of 10 s.
"""

from __future__ import annotations

import time
from statistics import quantiles

from bench.flows import called, flood
from bench.load import paced
from bench.server import Server, answering, server

OTHERS = 50
RATE = 200.0
SECONDS = 40.0
MESSAGES = 200_000


def latencies(running: Server, paths: list[str]) -> list[float]:
    """p99 of each path's calls, in ms."""
    times = paced(running.port, paths, RATE, SECONDS)
    if failed := sum(1 for path in paths for ms in times[path] if ms is None):
        print(f"{failed} calls failed")
    return [quantiles([ms for ms in times[path] if ms is not None], n=100)[98] for path in paths]


def under_flood(kind: str, *, slow: bool) -> None:
    with answering() as quick, answering(10.0) as port, server() as running:
        paths = [running.start_flow(*called(quick), f"other {n}") for n in range(OTHERS)]
        paced(running.port, paths, RATE, 5)
        before = latencies(running, paths)
        path = running.start_flow(*flood(port if slow else None), "flood")
        running.call("POST", f"{path}?enqueueOnly=true", {"list": [0] * MESSAGES})
        while running.metric("headrace_queue_messages") < MESSAGES * 0.1:
            time.sleep(0.2)
        during = latencies(running, paths)
        left = running.metric("headrace_queue_messages")
        ratios = sorted(b / a for a, b in zip(before, during, strict=True))
        print(
            f"flood of {kind} steps: p99 of {OTHERS} other flows {max(before):.0f} ms at most without, "
            f"{max(during):.0f} ms with; slowed down {ratios[len(ratios) // 2]:.1f} times (median), "
            f"{ratios[-1]:.1f} times (worst); {left:,.0f} messages left; peak RSS {running.peak_mb():.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    under_flood("fast", slow=False)
    under_flood("10 s", slow=True)
