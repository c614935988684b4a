"""Waiting deliveries by flow, handed out one flow after the other."""

from __future__ import annotations

from collections import OrderedDict, deque

from engine.ports import Delivery


class RoundRobin:
    """Not thread-safe: the bus holds its lock. A flow with a long queue delays no other flow."""

    def __init__(self) -> None:
        self._flows: OrderedDict[str, deque[Delivery]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, flow_id: str, delivery: Delivery) -> None:
        self._flows.setdefault(flow_id, deque()).append(delivery)
        self._size += 1

    def pop(self) -> Delivery | None:
        if not self._flows:
            return None
        flow_id, waiting = self._flows.popitem(last=False)
        delivery = waiting.popleft()
        if waiting:
            self._flows[flow_id] = waiting
        self._size -= 1
        return delivery

    def drop(self, flow_id: str) -> list[Delivery]:
        waiting = list(self._flows.pop(flow_id, ()))
        self._size -= len(waiting)
        return waiting
