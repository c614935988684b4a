"""Whether this process lives, is ready, and its figures."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Counters of one process; no label per flow, their number has no bound."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.webhooks = Counter(
            "headrace_webhooks", "Webhook calls answered, by status class.", ["status"], registry=self.registry
        )
        self.deliveries = Counter("headrace_deliveries", "Deliveries settled.", registry=self.registry)
        self.failures = Counter("headrace_step_failures", "Tries of a step that failed.", registry=self.registry)
        self.unprocessed = Counter("headrace_unprocessed", "Messages kept as unprocessed.", registry=self.registry)
        self.repeats = Counter(
            "headrace_external_repeats", "External steps called again after a crash.", registry=self.registry
        )
        self.given_up = Counter("headrace_steps_given_up", "Steps over their time limit.", registry=self.registry)
        self.indexed = Counter("headrace_log_records", "Log records indexed.", registry=self.registry)
        self.settle_seconds = Histogram(
            "headrace_settle_seconds",
            "From the end of a delivery's work to its settlement.",
            registry=self.registry,
            buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
        )

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        Gauge(name, help, registry=self.registry).set_function(read)


Check = Callable[[], str | None]
"""Returns what is wrong, or None."""


class Health:
    """`checks` are asked at every call of `ready`."""

    def __init__(self, metrics: Metrics, checks: list[Check]) -> None:
        self._metrics = metrics
        self.checks = checks

    def live(self) -> bool:
        return True

    def ready(self) -> tuple[bool, list[str]]:
        reasons = [reason for check in self.checks if (reason := check()) is not None]
        return not reasons, reasons

    def metrics(self) -> tuple[bytes, str]:
        """(body, content type) in Prometheus' text format."""
        return generate_latest(self._metrics.registry), CONTENT_TYPE_LATEST
