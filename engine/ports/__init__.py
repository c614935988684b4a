"""What the engine needs from the world, as protocols; adapters implement them.

Each port has one contract suite in `tests/contract`, run against every adapter.
All methods raise only errors of `engine.errors`.
"""

from engine.ports.bus import Bus, Delivery, LogBatch, Settlement
from engine.ports.cache import NOTICES_LOST, Cache
from engine.ports.files import Files
from engine.ports.logs import LogIndex
from engine.ports.outside import Children, Claims, Clock, Http
from engine.ports.storage import Doc, Documents, Op, Query, State, StateChange, StateVerb, Where, Write

__all__ = [
    "NOTICES_LOST",
    "Bus",
    "Cache",
    "Children",
    "Claims",
    "Clock",
    "Delivery",
    "Doc",
    "Documents",
    "Files",
    "Http",
    "LogBatch",
    "LogIndex",
    "Op",
    "Query",
    "Settlement",
    "State",
    "StateChange",
    "StateVerb",
    "Where",
    "Write",
]
