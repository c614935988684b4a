"""Runs the suspects of an unclean end, one at a time, before everything else begins."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.errors import HeadraceError
from engine.ports import Delivery
from engine.services.execution import Execution
from engine.services.outcome import Outcome
from engine.services.suspects import CODE, REASON, Suspect

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Trials:
    """`take` begins a delivery, `settle` ends one that was never begun, `wait_idle` waits until nothing is under
    way; `go_on` lets all other work begin and is not called after `stop`."""

    execution: Execution
    take: Callable[[Delivery], None]
    settle: Callable[[Delivery, Outcome], None]
    wait_idle: Callable[[float], bool]
    go_on: Callable[[], None]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def begin(self, suspects: Sequence[Suspect]) -> None:
        """Returns at once when there are any: they run on a thread of their own."""
        if suspects:
            threading.Thread(target=self._run, args=(suspects,), name="suspects", daemon=True).start()
        else:
            self._go_on()

    def _run(self, suspects: Sequence[Suspect]) -> None:
        for suspect in suspects:
            with self._lock:
                if self._stopped:
                    return
                self._begin(suspect)
            self.wait_idle(suspect.seconds_alone)
        self._go_on()

    def _begin(self, suspect: Suspect) -> None:
        if not suspect.guilty:
            self.take(suspect.delivery)
            return
        try:
            self._condemn(suspect.delivery)
        except HeadraceError as error:  # it stays where it is, and is not run, until the next start
            log.error("a suspect could not be put away: %s", error, extra={"action": "poison"})  # noqa: TRY400

    def _go_on(self) -> None:
        with self._lock:
            if not self._stopped:
                self.go_on()

    def _condemn(self, delivery: Delivery) -> None:
        message = delivery.message
        extra = {"action": "poison", "flowId": message.flow_id, "componentId": message.component_id, "id": message.id}
        log.error("a message %s and is not run again", REASON, extra=extra)
        outcome = self.execution.abandon(message, REASON, CODE)
        if message.kind == "tick":
            outcome.stop_flows.add(message.flow_id)  # the next tick would do the same
        self.settle(delivery, outcome)

    def stop(self) -> None:
        """Nothing begins after this returns."""
        with self._lock:
            self._stopped = True
