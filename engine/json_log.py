"""The process log: one JSON object a line on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

import orjson

from engine.model.times import iso
from engine.rules.masking import Masker, masker_of

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName", "asctime"}


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message, and whatever the call gave as `extra` (action, flowId, componentId …), masked."""

    def __init__(self, masker: Masker) -> None:
        super().__init__()
        self._masker = masker

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": iso(round(record.created * 1000)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({k: v for k, v in vars(record).items() if k not in _STANDARD})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return self._masker.text(orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode())


def configure(level: str, masked: Iterable[str]) -> None:
    """Send everything of `level` and above through JsonFormatter; replaces handlers set before.

    `masked`: names of fields and headers whose values are left out.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(masker_of(frozenset(masked))))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("urllib3", "pyftpdlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
