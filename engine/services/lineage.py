"""How the messages of an execution came to be, from the run log and the plan.

Ids of messages are derived from what caused them (`engine.services.emitting`), so each record of an output tells
exactly which messages it became: the way from the trigger to any message can be walked back, also through loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.compiler import Output, Plan
from engine.errors import BadRequest
from engine.model.execution import ExecutionRow
from engine.model.message import derived_id
from engine.ports import LogIndex
from engine.services.emitting import child_id
from engine.services.execution_steps import MOST_RECORDS, parts_of, skeleton

LONGEST_WAY = 5_000
"""Steps walked back from one message."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One output: its record, and the message whose step sent it."""

    record_id: str
    message_id: str
    component_id: str
    port: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that came to `port` of a component; `sent` is None for one put there by hand."""

    message_id: str
    component_id: str
    port: str
    record_id: str
    sent: Sent | None


def replayed_id(correlation_id: str, message_id: str) -> str:
    """The id a message has in the execution that plays it again."""
    return derived_id(correlation_id, "replay", message_id)


@dataclass(frozen=True, slots=True)
class Way:
    """The outputs a message has passed, the nearest first of each component. `whole`: back to where it all began."""

    outputs: dict[str, Sent]
    whole: bool


class Lineage:
    """Of `chain`: an execution, the one it plays again, and so on; `plans` are those its messages may be of.

    Raises BadRequest for an execution too large to be read.
    """

    def __init__(self, chain: Sequence[ExecutionRow], plans: Sequence[Plan], log_index: LogIndex) -> None:
        self._chain = chain
        self._plans = plans
        self._log_index = log_index
        self._sent: list[list[Sent]] = [[] for _ in chain]
        self._arrivals: list[list[Arrival]] = [[] for _ in chain]
        self._ways: dict[str, Sent] = {}
        self._begun: set[str] = set()
        steps = [step for plan in plans for step in plan.steps.values()]
        self._reached = {target for step in steps for links in step.targets.values() for target, _ in links}
        for level in reversed(range(len(chain))):
            self._read(level)

    def _read(self, level: int) -> None:
        row = self._chain[level]
        # what is known of an older execution has other ids in the one that plays it again
        self._ways |= {replayed_id(row.correlation_id, id_): sent for id_, sent in self._ways.items()}
        self._begun |= {replayed_id(row.correlation_id, id_) for id_ in self._begun}
        count = 0
        for record in skeleton(self._log_index, row.flow_id, row.correlation_id):
            count += 1
            message_id, _, place = parts_of(record["id"])
            if record["portType"] == "out":
                self._add(level, Sent(record["id"], message_id, record["componentId"], record["port"]), int(place))
            elif place == "0" and not record.get("senderId"):
                self._begun.add(message_id)
                arrival = Arrival(message_id, record["componentId"], record["port"], record["id"], None)
                self._arrivals[level].append(arrival)
        if count >= MOST_RECORDS:
            raise BadRequest(f"the execution has more than {MOST_RECORDS} log records; it cannot be played again")

    def _add(self, level: int, sent: Sent, n: int) -> None:
        self._sent[level].append(sent)
        steps = [step for plan in self._plans if (step := plan.steps.get(sent.component_id)) is not None]
        if sent.component_id not in self._reached:
            self._begun.add(sent.message_id)
        for component_id, port in sorted({link for step in steps for link in step.targets.get(sent.port, ())}):
            message_id = child_id(sent.message_id, sent.port, n, component_id, port)
            self._ways[message_id] = sent
            self._arrivals[level].append(Arrival(message_id, component_id, port, sent.record_id, sent))

    def starts(self, component_id: str, level: int = 0) -> list[Arrival]:
        """What came to a component; of one that takes no messages (a trigger), what came of its outputs."""
        row = self._chain[level]
        if row.replay_of is not None and component_id == row.trigger:
            return self.starts(component_id, level + 1) if level + 1 < len(self._chain) else []
        came = [arrival for arrival in self._arrivals[level] if arrival.component_id == component_id]
        unique = {arrival.message_id: arrival for arrival in came}  # a retry enters again
        if unique:
            return list(unique.values())
        return [a for a in self._arrivals[level] if a.sent is not None and a.sent.component_id == component_id]

    def way(self, arrival: Arrival) -> Way:
        outputs: dict[str, Sent] = {}
        sent, here = arrival.sent, arrival.message_id
        for _ in range(LONGEST_WAY):
            if sent is None:
                break
            outputs.setdefault(sent.component_id, sent)
            here = sent.message_id
            sent = self._ways.get(here)
        return Way(outputs, here in self._begun)

    def outputs(self, output: Output) -> list[Sent]:
        """All times a step sent something to a port, of the newest execution that knows one."""
        for sent in self._sent:
            found = [one for one in sent if (one.component_id, one.port) == output]
            if found:
                return found
        return []
