"""The connection to the search server, and what its errors mean to us.

Elasticsearch 8 and 9 take what is sent here; so does OpenSearch, once `PlainJsonNode` has taken out the
client's media types and put in the header it looks for.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import threading
import time
from typing import Any

import orjson
from elastic_transport import (
    ApiError,
    ApiResponse,
    ConnectionTimeout,
    HttpHeaders,
    JsonSerializer,
    NdjsonSerializer,
    TransportError,
    Urllib3HttpNode,
)
from elastic_transport._models import DEFAULT, DefaultType
from elasticsearch import Elasticsearch, UnsupportedProductError

from engine.adapters.runlog.fields import READ_SECONDS
from engine.errors import BadRequest, HeadraceError, NotFound, TimedOut, Unavailable

# It warns of every answer "busy" as of a dead node; what matters is told by the errors raised here.
logging.getLogger("elastic_transport").setLevel(logging.ERROR)

CODE = "SEARCH_SERVER"
BUSY = "SEARCH_SERVER_BUSY"
"""It answers, but cannot take this now."""

BULK_SECONDS = 60.0
_CONNECTIONS = 32
_VENDOR = re.compile(r"application/vnd\.elasticsearch\+(json|x-ndjson);\s*compatible-with=\d+")
_BUSY = (429, 500, 502, 503, 504)


class PlainJsonNode(Urllib3HttpNode):
    """For OpenSearch, which takes no media types of Elasticsearch and does not say that it were one."""

    def perform_request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: DefaultType | float | None = DEFAULT,
    ) -> Any:
        plain = HttpHeaders({name: _VENDOR.sub(r"application/\1", value) for name, value in (headers or {}).items()})
        answer = super().perform_request(method, target, body=body, headers=plain, request_timeout=request_timeout)
        head = HttpHeaders({**answer.meta.headers, "x-elastic-product": "Elasticsearch"})
        return answer._replace(meta=dataclasses.replace(answer.meta, headers=head))


class _Json(JsonSerializer):
    def json_loads(self, data: bytes) -> Any:
        return orjson.loads(data)


_SERIALIZERS = {
    **{name: _Json() for name in ("application/json", "application/vnd.elasticsearch+json")},
    **{name: NdjsonSerializer() for name in ("application/x-ndjson", "application/vnd.elasticsearch+x-ndjson")},
}


class Connection:
    """`url` is one address or several, by comma. The driver's client is made anew in a forked process."""

    def __init__(self, url: str, *, opensearch: bool = False, api_key: str = "", ca_file: str = "") -> None:
        self._options: dict[str, Any] = {
            "hosts": [part.strip().rstrip("/") for part in url.split(",")],
            "node_class": PlainJsonNode if opensearch else Urllib3HttpNode,
            "connections_per_node": _CONNECTIONS,
            "serializers": _SERIALIZERS,
            "max_retries": 1,
            "retry_on_status": (),  # what is busy is asked again by us, after a pause
            "retry_on_timeout": False,
            "max_dead_node_backoff": 5.0,
            **({"api_key": api_key} if api_key else {}),
            **({"ca_certs": ca_file} if ca_file else {}),
        }
        self._lock = threading.Lock()
        self._client: Elasticsearch | None = None
        self._pid = 0

    @property
    def client(self) -> Elasticsearch:
        if self._client is None or self._pid != os.getpid():
            with self._lock:
                if self._client is None or self._pid != os.getpid():
                    try:
                        self._client, self._pid = Elasticsearch(**self._options), os.getpid()
                    except ValueError as error:
                        raise HeadraceError(f"search server: {error}", code=CODE) from error
        return self._client

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        seconds: float = READ_SECONDS,
        ndjson: bool = False,
        **params: Any,
    ) -> Any:
        """The answer's JSON. `body` is bytes or what becomes JSON.

        Raises BadRequest, NotFound (no such index), TimedOut, Unavailable.
        """
        sent = {"accept": "application/json"}
        if body is not None:
            sent["content-type"] = "application/x-ndjson" if ndjson else "application/json"
            body = body if isinstance(body, bytes) else orjson.dumps(body)
        client = self.client.options(request_timeout=seconds)
        try:
            answer: ApiResponse[Any] = client.perform_request(method, path, params=params, headers=sent, body=body)
        except (ApiError, TransportError) as error:
            raise translate(error) from error
        except UnsupportedProductError as error:
            raise Unavailable(f"search server: {error.message}; {_HINT}", code=CODE) from error
        return answer.body

    def close(self) -> None:
        with self._lock:
            if self._client is not None and self._pid == os.getpid():
                self._client.close()


_HINT = "is it OpenSearch? Then set HEADRACE_ELASTIC_OPENSEARCH=true"


def translate(error: ApiError | TransportError) -> HeadraceError:
    """A driver's error as ours."""
    if isinstance(error, ConnectionTimeout):
        return TimedOut("The search server took too long; narrow the search by flow, time or words.")
    if isinstance(error, TransportError):
        return Unavailable(f"search server: {error.message}", code=CODE)
    status, reason = error.meta.status, reason_of(error.body)
    if status == 404:
        return NotFound(f"search server: {reason}", code=CODE)
    if status == 406 or (status == 400 and "media_type" in reason):
        return Unavailable(f"search server: {reason}; {_HINT}", code=CODE)
    if status in _BUSY:
        return Unavailable(f"search server: {reason}", code=BUSY)
    if status in (401, 403):
        return Unavailable(f"search server: {reason}; look at HEADRACE_ELASTIC_URL and its credentials", code=CODE)
    return BadRequest(f"query: the search server refused it: {reason}")


def reason_of(body: Any) -> str:
    """The most telling sentence of an error of the server."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        while isinstance(error.get("caused_by"), dict):
            error = error["caused_by"]
        roots = error.get("root_cause")
        if isinstance(roots, list) and roots and not error.get("reason"):
            error = roots[0]
        return f"{error.get('type')}: {error.get('reason')}"[:500]
    return str(error or body)[:500]


class Backoff:
    """Pauses that double from `first` seconds up to `longest`; `over` once they add up to `limit`."""

    def __init__(self, first: float = 0.1, longest: float = 3.0, limit: float = 15.0) -> None:
        self._pause, self._longest, self._left = first, longest, limit

    @property
    def over(self) -> bool:
        return self._left <= 0

    def wait(self) -> None:
        time.sleep(self._pause)
        self._left -= self._pause
        self._pause = min(self._pause * 2, self._longest)
