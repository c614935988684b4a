"""What an API route takes and gives, written once beside the view: checked at each call, shown at /openapi.json.

@routes.post("/flows")
@operation("Create a flow", tag="Flows", body=NEW_FLOW, answers={200: FLOW_ID})
def create(body: dict[str, Any]) -> dict[str, str]: ...
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import jsonschema_rs
import orjson
from apispec import APISpec
from flask import Flask, request
from werkzeug.routing import Rule

from engine.errors import BadRequest
from engine.rules.acl import require_admin
from webapp.session import caller

P = ParamSpec("P")
R = TypeVar("R")
Schema = dict[str, Any]
Auth = Literal["user", "admin", "none"]

OPEN_BYTES = 64 * 1024
"""Largest body of a request that anybody may send: nobody answers for what is kept of it."""

TEXT: Schema = {"type": "string"}
OBJECT: Schema = {"type": "object"}
COUNT: Schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
ERROR: Schema = {
    "type": "object",
    "properties": {
        "statusCode": {"type": "integer"},
        "error": TEXT,
        "message": TEXT,
        "details": {"type": "array", "items": {}},
    },
    "required": ["statusCode", "error", "message"],
}


@dataclass(frozen=True, slots=True)
class Param:
    """One query parameter, for the document; views read and check it."""

    name: str
    text: str
    type: str = "string"
    repeat: bool = False


LIST_PARAMS = (
    Param("limit", "How many at most.", "integer"),
    Param("offset", "How many to leave out first.", "integer"),
    Param("sort", "Field and direction: `name:1` upwards, `mtime:-1` downwards."),
    Param("pattern", "Regular expression on the name, case ignored."),
    Param("projection", "Fields to return (`name,flowId`) or to leave out (`-flow,-thumbnail`)."),
    Param("filter", "`path:value`; the value may begin with an operator: ! ^ $ ~ > < $in.", repeat=True),
)


@dataclass(frozen=True, slots=True)
class Operation:
    summary: str
    tag: str
    body: Schema | None
    answers: Mapping[int, Schema | str]
    query: tuple[Param, ...]
    auth: Auth
    description: str


def operation(
    summary: str,
    *,
    tag: str,
    answers: Mapping[int, Schema | str],
    body: Schema | None = None,
    query: Sequence[Param] = (),
    auth: Auth = "user",
    description: str = "",
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Describe a view and guard it: signed in (401), administrator (403), body as its schema says (400).

    A view with a `body` schema is called with the parsed JSON as keyword argument `body`; an
    empty request body counts as `{}`. `answers` maps a status to a JSON schema, or to a media
    type such as "text/csv" when the answer is not JSON.
    """
    described = Operation(summary, tag, body, answers, tuple(query), auth, description)
    validator = None if body is None else jsonschema_rs.validator_for(body, mask="the value")

    def wrap(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            if auth == "none":
                request.max_content_length = OPEN_BYTES
            else:
                asking = caller()
                if auth == "admin":
                    require_admin(asking)
            if validator is not None:
                kwargs["body"] = checked(read_json(), validator)
            return view(*args, **kwargs)

        guarded.operation = described  # type: ignore[attr-defined]
        return guarded

    return wrap


def read_json() -> Any:
    """The request's body; `{}` when empty. Raises BadRequest when it is not JSON."""
    data = request.get_data(cache=False)
    if not data:
        return {}
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the request body is not JSON: {error}") from error


def checked(value: Any, validator: Any) -> Any:
    """`value`, if it fits. Raises BadRequest whose details name each wrong place by its JSON path."""
    problems = [{"path": json_path(e.instance_path), "message": e.message} for e in validator.iter_errors(value)]
    if problems:
        first = problems[0]
        where = f"{first['path']}: " if first["path"] else "request body: "
        raise BadRequest(f"{where}{first['message']}", details=problems)
    return value


def json_path(steps: Sequence[str | int]) -> str:
    """`sharedWith[0].email`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")


def operations(app: Flask) -> Iterator[tuple[str, str, Rule, Operation]]:
    """Every described route at the root: (path with {parameters}, method, rule, description)."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda r: r.rule):
        described = getattr(app.view_functions[rule.endpoint], "operation", None)
        if described is None or rule.rule.startswith("/api/"):
            continue
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield path, method.lower(), rule, described


def document(app: Flask, version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of all described routes."""
    spec = APISpec(
        title="Headrace",
        version=version,
        openapi_version="3.1.0",
        info={"description": "Flows, the accounts, stores and files they use, and what they did."},
        servers=[{"url": "/"}, {"url": "/api"}],
    )
    spec.components.schema("Error", ERROR)
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    for path, method, rule, described in operations(app):
        spec.path(path=path, operations={method: _operation_object(path, method, rule, described)})
    return spec.to_dict()


def _operation_object(path: str, method: str, rule: Rule, described: Operation) -> dict[str, Any]:
    name = re.sub(r"[^A-Za-z0-9]+", "_", f"{method} {path}").strip("_")
    result: dict[str, Any] = {
        "operationId": name,
        "summary": described.summary,
        "tags": [described.tag],
        "security": [] if described.auth == "none" else [{"bearer": []}],
        "parameters": [_path_parameter(name) for name in sorted(rule.arguments)]
        + [_query_parameter(param) for param in described.query],
        "responses": {str(status): _response(answer) for status, answer in described.answers.items()},
    }
    result["responses"]["default"] = {
        "description": "What went wrong.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    if described.description:
        result["description"] = described.description
    if described.body is not None:
        result["requestBody"] = {"content": {"application/json": {"schema": described.body}}}
    return result


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": TEXT}


def _query_parameter(param: Param) -> dict[str, Any]:
    one: Schema = {"type": param.type}
    schema = {"type": "array", "items": one} if param.repeat else one
    return {"name": param.name, "in": "query", "description": param.text, "schema": schema}


def _response(answer: Schema | str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"description": "Done.", "content": {answer: {"schema": {}}}}
    return {"description": "Done.", "content": {"application/json": {"schema": answer}}}
