"""Who in this process listens to which channel of the Cache."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock

log = logging.getLogger(__name__)

Handler = Callable[[str], None]


class Subscribers:
    """Safe between threads; a handler may subscribe, leave and publish."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._handlers: dict[str, list[Handler]] = {}

    def add(self, channel: str, handler: Handler) -> Callable[[], None]:
        """→ what ends it."""

        def called(text: str) -> None:
            handler(text)  # a wrapper of its own: the same handler may subscribe twice

        with self._lock:
            self._handlers.setdefault(channel, []).append(called)

        def leave() -> None:
            with self._lock:
                kept = [other for other in self._handlers.get(channel, ()) if other is not called]
                if kept:
                    self._handlers[channel] = kept
                else:
                    self._handlers.pop(channel, None)

        return leave

    def channels(self) -> set[str]:
        with self._lock:
            return set(self._handlers)

    def tell(self, channel: str, text: str) -> bool:
        """Call the handlers in this thread; one that raises is logged and stops no other. → whether none did."""
        with self._lock:
            handlers = tuple(self._handlers.get(channel, ()))
        well = True
        for handler in handlers:
            try:
                handler(text)
            except Exception:
                well = False
                log.exception("a subscriber failed", extra={"action": "subscriber_failed", "channel": channel})
        return well
