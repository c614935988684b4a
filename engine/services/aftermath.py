"""What is due once a delivery is settled: answers, stops, reports of failures, figures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from engine.errors import HeadraceError
from engine.model.message import Message
from engine.ports import Http
from engine.services.health import Metrics
from engine.services.lifecycle import Lifecycle
from engine.services.outcome import Outcome
from engine.services.replies import Replies

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Aftermath:
    """Called with the first message of a delivery and its outcome."""

    replies: Replies
    lifecycle: Lifecycle
    metrics: Metrics
    http: Http
    error_webhooks: Sequence[str]
    spawn: Callable[[Callable[[], None]], None]

    def __call__(self, message: Message, outcome: Outcome) -> None:
        self.metrics.deliveries.inc()
        self.replies.settled(message, outcome)
        if outcome.failures:
            self.metrics.failures.inc(len(outcome.failures))
            self.metrics.unprocessed.inc(sum(1 for w in outcome.writes if w.collection == "unprocessed"))
            for failed in outcome.failures if self.error_webhooks else ():
                self.spawn(partial(self._post, _report(failed)))
        for flow_id in outcome.stop_flows:
            self.spawn(partial(self._stop, flow_id))

    def _stop(self, flow_id: str) -> None:
        try:
            self.lifecycle.stop(flow_id)
        except HeadraceError as error:
            log.warning("flow %s did not stop: %s", flow_id, error, extra={"action": "stop_failed", "flowId": flow_id})

    def _post(self, report: bytes) -> None:
        """engine.md §5: each failure is POSTed to WEBHOOK_FLOW_COMPONENT_ERROR."""
        for url in self.error_webhooks:
            try:
                self.http.request("POST", url, headers={"content-type": "application/json"}, body=report, timeout=10)
            except HeadraceError as error:
                log.warning("the error webhook %s was not reached: %s", url, error, extra={"action": "error_webhook"})


def _report(failed: dict[str, Any]) -> bytes:
    message, step = failed["message"], failed["step"]
    return orjson.dumps(
        {
            "type": "component",
            "err": failed["error"],
            "flowId": message.flow_id,
            "componentId": message.component_id,
            "componentType": step.type,
            "correlationId": message.correlation_id,
        }
    )
