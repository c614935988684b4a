"""How records are indexed: few fields, never one that a payload names.

A document is the record itself with its own names; what has no name among `fields.FIELDS` is under `more`, which
the server stores without looking at it, so no payload can make a field or contradict another's type. What is
searched besides the fields below is under `search`: the words of the texts, and the values of `more` as
"path=value" (see document.py).
"""

from __future__ import annotations

from typing import Any

VERSION = 1
LONGEST = 1024
"""Characters of a value that is indexed."""

ASKED_FOR = ("flowId", "correlationId", "componentId", "componentType", "severity", "portType")
RARE = ("type", "port", "senderId", "senderType", "userId", "runId", "entity", "bundleId")
"""Found by reading the column of each record that the rest of the query leaves: costs less to write."""

SORTED = frozenset((*ASKED_FOR, *RARE))
"""The server can sort by these (and by time and id)."""

WORDS = {"msg": "search.msg", "err": "search.err", "componentType": "search.type"}
MORE = "search.more"

_KEYWORD = {"type": "keyword", "ignore_above": LONGEST}
_COLUMN = {**_KEYWORD, "index": False}
_TEXT = {"type": "text", "analyzer": "whitespace", "norms": False}


def template(prefix: str, shards: int) -> dict[str, Any]:
    return {
        "index_patterns": [f"{prefix}-*"],
        "priority": 200,
        "version": VERSION,
        "template": {
            "settings": {
                "index": {
                    "number_of_shards": shards,
                    "auto_expand_replicas": "0-1",
                }
            },
            "mappings": {
                "dynamic": False,
                "properties": {
                    "created": {"type": "date", "format": "epoch_millis"},
                    "id": _COLUMN,
                    **dict.fromkeys(ASKED_FOR, _KEYWORD),
                    **dict.fromkeys(RARE, _COLUMN),
                    "search": {
                        "properties": {
                            "msg": _TEXT,
                            "err": _TEXT,
                            "type": _TEXT,
                            "more": {**_KEYWORD, "doc_values": False},
                        }
                    },
                    "more": {"type": "object", "enabled": False},
                },
            },
        },
    }
