"""The flow descriptor as plain frozen data, and its reader (engine.md §4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import BadRequest

ON_ERROR = ("storeUnprocessed", "errorPort", "stopFlow")


@dataclass(frozen=True, slots=True)
class ErrorHandling:
    auto_retry: bool = True
    max_retries: int | None = None
    on_error: str = "storeUnprocessed"


_USUAL = ErrorHandling()


@dataclass(frozen=True, slots=True)
class LinkMapping:
    """The mapping of one incoming link: field → literal or template, and their modifiers."""

    lambda_: Mapping[str, Any]
    modifiers: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One component of a flow, as saved.

    `source` is {in port: {sender id: (out port, …)}}; `transform` is
    {in port: {sender id: {out port: mapping}}} and may hold stale entries.
    """

    id: str
    type: str
    label: str = ""
    version: str | None = None
    source: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)
    property_modifiers: Mapping[str, Any] = field(default_factory=dict)
    transform: Mapping[str, Mapping[str, Mapping[str, LinkMapping]]] = field(default_factory=dict)
    error_handling: ErrorHandling = ErrorHandling()
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Descriptor:
    steps: Mapping[str, StepSpec]


def read_descriptor(flow: Any) -> Descriptor:
    """Read `{component id: component}`. Raises BadRequest naming every wrong field by its path.

    Only the shape is checked here; whether the flow can start is `engine.rules.links`' and
    the compiler's business.
    """
    if not isinstance(flow, Mapping):
        raise BadRequest("flow must be an object: component id → component")
    problems: list[dict[str, str]] = []
    steps = {}
    for cid, raw in flow.items():
        reader = _Reader(str(cid), problems)
        if (step := reader.step(raw)) is not None:
            steps[str(cid)] = step
    if problems:
        first = problems[0]
        raise BadRequest(f"{first['path']}: {first['message']}", details=problems)
    return Descriptor(steps)


class _Reader:
    def __init__(self, cid: str, problems: list[dict[str, str]]) -> None:
        self.cid = cid
        self.problems = problems

    def wrong(self, path: str, message: str) -> None:
        self.problems.append({"path": f"flow.{self.cid}{path}", "message": message, "componentId": self.cid})

    def mapping(self, value: Any, path: str) -> Mapping[str, Any]:
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return value
        self.wrong(path, "must be an object")
        return {}

    def step(self, raw: Any) -> StepSpec | None:
        if not isinstance(raw, Mapping):
            self.wrong("", "must be an object")
            return None
        kind = raw.get("type")
        if not isinstance(kind, str) or not kind:
            self.wrong(".type", "must name a component, such as appmixer.utils.controls.Each")
            return None
        config = self.mapping(raw.get("config"), ".config")
        label = raw.get("label")
        version = raw.get("version")
        return StepSpec(
            id=self.cid,
            type=kind,
            label=label if isinstance(label, str) else "",
            version=version if isinstance(version, str) else None,
            source=self.source(raw.get("source")),
            properties=self.mapping(config.get("properties"), ".config.properties"),
            property_modifiers=self.mapping(config.get("modifiers"), ".config.modifiers"),
            transform=self.transform(config.get("transform")),
            error_handling=self.error_handling(raw.get("errorHandling")),
            disabled=raw.get("disabled") is True,
        )

    def source(self, raw: Any) -> dict[str, dict[str, tuple[str, ...]]]:
        result: dict[str, dict[str, tuple[str, ...]]] = {}
        for port, senders in self.mapping(raw, ".source").items():
            links: dict[str, tuple[str, ...]] = {}
            for sender, ports in self.mapping(senders, f".source.{port}").items():
                names = [ports] if isinstance(ports, str) else ports
                if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
                    self.wrong(f".source.{port}.{sender}", "must be a list of out port names")
                    continue
                links[sender] = tuple(dict.fromkeys(names))
            result[port] = links
        return result

    def transform(self, raw: Any) -> dict[str, dict[str, dict[str, LinkMapping]]]:
        result: dict[str, dict[str, dict[str, LinkMapping]]] = {}
        for port, senders in self.mapping(raw, ".config.transform").items():
            for sender, ports in self.mapping(senders, f".config.transform.{port}").items():
                for out, entry in self.mapping(ports, f".config.transform.{port}.{sender}").items():
                    path = f".config.transform.{port}.{sender}.{out}"
                    entry = self.mapping(entry, path)
                    mapping = LinkMapping(
                        self.mapping(entry.get("lambda"), f"{path}.lambda"),
                        self.mapping(entry.get("modifiers"), f"{path}.modifiers"),
                    )
                    result.setdefault(port, {}).setdefault(sender, {})[out] = mapping
        return result

    def error_handling(self, raw: Any) -> ErrorHandling:
        given = self.mapping(raw, ".errorHandling")
        on_error = given.get("onError", "storeUnprocessed")
        if on_error not in ON_ERROR:
            self.wrong(".errorHandling.onError", f"must be one of {', '.join(ON_ERROR)}")
            on_error = "storeUnprocessed"
        retries = given.get("maxRetries")
        if retries is not None and (isinstance(retries, bool) or not isinstance(retries, int) or retries < 0):
            self.wrong(".errorHandling.maxRetries", "must be a whole number, 0 or more")
            retries = None
        read = ErrorHandling(given.get("autoRetry", True) is not False, retries, on_error)
        return _USUAL if read == _USUAL else read
