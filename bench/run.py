"""`make bench`: how fast the embedded engine executes flows, and what it costs.

Every execution is saved and searchable in the run log when its figure is taken. Options:
`--quick` leaves out the 10,000 flows.
The second flow calls a local server that answers in 5 ms, eleven times for each execution.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from bench.flows import EACH_STEPS, chain, each_of_ten, three_steps
from bench.server import Server, answering, server

SECONDS = 10.0


def show(name: str, r: dict[str, float]) -> None:
    print(
        f"{name:<34} {r['per_second']:>8,.0f}/s   CPU {r['cpu_ms']:.2f} ms   "
        f"p50 {r['p50']:.1f} ms   p99 {r['p99']:.1f} ms   failed {r['failed']:.0f}   indexed after {r['drain']:.1f} s",
        flush=True,
    )


def many(running: Server, count: int) -> list[str]:
    def one(n: int) -> str:
        return running.start_flow(*three_steps(), f"bench {n}")

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


def calling() -> None:
    with answering() as port, server() as running:
        path = running.start_flow(*each_of_ten(port), "calls")
        running.load(8, 2, [path])
        result = running.load(32, SECONDS, [path])
        show("POST, each of 10: POST, join", result)
        steps = result["per_second"] * EACH_STEPS
        print(
            f"{steps:,.0f} steps/s at {result['cpu_ms'] / EACH_STEPS:.2f} CPU ms; peak RSS {running.peak_mb():.0f} MB"
        )


def main() -> None:
    with server() as running:
        ten = many(running, 10)
        running.load(8, 2, ten)  # warm up
        show("3 steps, 10 flows, 32 connections", running.load(32, SECONDS, ten))
        show("3 steps, 10 flows, 1 connection", running.load(1, SECONDS / 2, ten))
        print(f"peak RSS {running.peak_mb():.0f} MB", flush=True)
        short = running.load(8, SECONDS / 2, [running.start_flow(*chain(5), "chain 5")])
        long = running.load(8, SECONDS / 2, [running.start_flow(*chain(100), "chain 100")])
        show("chain of 5 steps", short)
        show("chain of 100 steps", long)
        ratio = (long["cpu_ms"] / 100) / (short["cpu_ms"] / 5)
        print(f"cost per step, 100 against 5 steps: {ratio:.2f} times", flush=True)
    calling()
    if "--quick" in sys.argv:
        return
    with server() as running:
        paths = many(running, 10_000)
        running.load(32, 0, paths)  # each once
        show("3 steps, 10,000 flows, 32 conn.", running.load(32, SECONDS * 2, paths))
        print(f"peak RSS {running.peak_mb():.0f} MB", flush=True)


if __name__ == "__main__":
    main()
