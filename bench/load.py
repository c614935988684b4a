"""A load generator in one thread: keep-alive connections over epoll, one request at a time on each.

`python -m bench.load PORT CONNECTIONS SECONDS < paths` prints one JSON object. It runs in a process
of its own, so that its CPU time is not the server's.
"""

from __future__ import annotations

import asyncio
import json
import random
import selectors
import socket
import sys
import time

BODY = json.dumps(
    {
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "lines": [{"sku": "A-1", "quantity": 12}, {"sku": "B-2", "quantity": 1}],
        "note": "please ring twice",
    }
).encode()


def request(path: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    )
    return head.encode() + BODY


def complete(answer: bytes) -> bool:
    """Whether head and body have arrived; the server may send them apart."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    at = head.lower().find(b"content-length:")
    return at < 0 or len(body) >= int(head[at + 15 :].split(b"\r\n", 1)[0])


def run(port: int, connections: int, seconds: float, paths: list[str]) -> dict[str, float]:
    """Send until the time is over, or each once when it is 0. Latencies in ms; `failed` counts other than 2xx."""
    requests = [request(p) for p in paths]
    once = iter(requests[connections:]) if not seconds else None
    selector = selectors.DefaultSelector()
    times: list[float] = []
    failed = 0
    sent: dict[socket.socket, float] = {}
    parts: dict[socket.socket, bytes] = {}
    clock = time.perf_counter
    began = clock()
    for n in range(min(connections, len(requests)) if once else connections):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        sent[connection] = clock()
        connection.sendall(requests[n] if once else random.choice(requests))
    ends = began + seconds
    while sent:
        for key, _ in selector.select(5):
            connection = key.fileobj  # type: ignore[assignment]
            received = connection.recv(65536)
            answer = parts.pop(connection, b"") + received
            if received and not complete(answer):
                parts[connection] = answer
                continue
            now = clock()
            times.append(now - sent[connection])
            failed += not answer.startswith(b"HTTP/1.1 2")
            following = next(once, None) if once else random.choice(requests) if now < ends else None
            if following and received:
                sent[connection] = clock()
                connection.sendall(following)
            else:
                del sent[connection]
                selector.unregister(connection)
                connection.close()
    took = clock() - began
    times.sort()
    return {
        "requests": len(times),
        "failed": failed,
        "per_second": len(times) / took,
        "p50": times[len(times) // 2] * 1000,
        "p99": times[int(len(times) * 0.99)] * 1000,
    }


def paced(port: int, paths: list[str], rate: float, seconds: float) -> dict[str, list[float | None]]:
    """Open load: calls leave at their time, the paths in turn, whether or not earlier ones were answered.

    Returns the milliseconds from that time to the answer of each call of each path, None for a failed one.
    """
    return asyncio.run(_paced(port, paths, rate, seconds))


async def _paced(port: int, paths: list[str], rate: float, seconds: float) -> dict[str, list[float | None]]:
    requests = [request(p) for p in paths]
    times: dict[str, list[float | None]] = {path: [] for path in paths}
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(n: int, due: float) -> None:
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        writer.write(requests[n])
        head = await reader.readuntil(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
        idle.append((reader, writer))
        fine = head.startswith(b"HTTP/1.1 2")
        times[paths[n]].append((time.perf_counter() - due) * 1000 if fine else None)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for k in range(round(rate * seconds)):
            due = began + k / rate
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            group.create_task(call(k % len(paths), due))
    for _, writer in idle:
        writer.close()
    return times


if __name__ == "__main__":
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(run(port, connections, seconds, sys.stdin.read().split())))
