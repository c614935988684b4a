"""The queues of an installation, all durable and replicated, reached by their names (design.md §4).

steps.0 … steps.7   messages to flows; a flow has one of them for good
steps.bulk          messages of flows with very many waiting, so that these do not stand before others'
suspects            messages that were on several workers which died
logs                records for the run log, many in one message
"""

from __future__ import annotations

import zlib

SHARDS = 8
STEPS = tuple(f"steps.{n}" for n in range(SHARDS))
BULK = "steps.bulk"
SUSPECTS = "suspects"
LOGS = "logs"
QUEUES = (*STEPS, BULK, SUSPECTS, LOGS)

ARGUMENTS = {
    "x-queue-type": "quorum",
    # A worker that dies returns all it had fetched, the guilty with the innocent: the broker's own limit would
    # throw out all of them. Those that come back too often go to `suspects`.
    "x-delivery-limit": 1_000_000,
}

RETURNS = 3
"""So many times a message may come back unsettled before it is suspected."""


def shard(flow_id: str) -> str:
    """The same in every process and release: it tells where a flow's messages are."""
    return STEPS[zlib.crc32(flow_id.encode()) % SHARDS]
