"""Component, service, module and bundle manifests as plain frozen data (engine.md §1, §2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import BadRequest


@dataclass(frozen=True, slots=True)
class InPort:
    name: str
    schema: Mapping[str, Any] | None = None
    inspector: Mapping[str, Any] | None = None
    source: Mapping[str, Any] | None = None
    max_connections: int | None = None

    @property
    def bare(self) -> bool:
        """A port without any fields: the sender's content arrives unchanged (engine.md §2)."""
        return self.schema is None and self.inspector is None and self.source is None


@dataclass(frozen=True, slots=True)
class OutPort:
    name: str
    options: tuple[Mapping[str, Any], ...] = ()
    schema: Mapping[str, Any] | None = None
    source: Mapping[str, Any] | None = None
    max_connections: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """`raw` is the file as read, for the API and the designer.

    `webhook_settings`: the properties are also the settings of `engine.rules.webhook_settings`.
    """

    name: str
    path: str
    label: str
    in_ports: tuple[InPort, ...]
    out_ports: tuple[OutPort, ...]
    properties_schema: Mapping[str, Any] | None
    auth_service: str | None
    auth_scope: tuple[str, ...]
    quota_manager: str | None
    quota_resources: tuple[str, ...]
    quota_scope: Mapping[str, str]
    quota_max_wait: int | None
    fire_patterns: tuple[tuple[Any, ...], ...]
    tick: bool
    webhook: bool
    webhook_async: bool
    webhook_settings: bool
    persistent: bool
    private: bool
    trigger: bool
    version: str | None
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def app(self) -> str:
        """The `vendor.service` the component belongs to."""
        return ".".join(self.name.split(".")[:2])

    def in_port(self, name: str) -> InPort | None:
        return next((port for port in self.in_ports if port.name == name), None)

    def out_port(self, name: str) -> OutPort | None:
        return next((port for port in self.out_ports if port.name == name), None)


Wrong = Callable[[str, str], None]


def read_manifest(raw: Any, path: str = "") -> Manifest:
    """Read a component.json. `path` is its folder in the catalogue, "vendor/service/module/Component".

    Lenient as real manifests need (the loader recipe of engine.md §2): unknown keys are kept and
    ignored. Raises BadRequest whose `details` name each wrong place by its JSON path.
    """
    if not isinstance(raw, Mapping):
        raise BadRequest("a component manifest must be an object", details=[{"path": "", "message": "not an object"}])
    problems: list[dict[str, str]] = []
    manifest = _read(raw, path, lambda where, message: problems.append({"path": where, "message": message}))
    if problems:
        raise BadRequest(f"{problems[0]['path']}: {problems[0]['message']}", details=problems)
    return manifest


def password_fields(manifest: Mapping[str, Any]) -> frozenset[str]:
    """Names of the fields a component.json declares as passwords: an inspector input of type "password", a
    schema with format "password", of properties, in ports and out ports, at any depth."""
    found: set[str] = set()
    waiting: list[Any] = [manifest.get(key) for key in ("properties", "inPorts", "outPorts")]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            for name, item in node.items():
                if isinstance(item, Mapping) and "password" in (item.get("type"), item.get("format")):
                    # an option of an out port has its name beside its schema: {value, schema}
                    option = name == "schema" and isinstance(node.get("value"), str)
                    found.add(str(node["value"]).rpartition(".")[2] if option else str(name))
                waiting.append(item)
        elif isinstance(node, list):
            waiting.extend(node)
    return frozenset(found)


def _read(raw: Mapping[str, Any], path: str, wrong: Wrong) -> Manifest:
    name = _name(raw, wrong)
    ins, outs = _ports(raw, wrong)
    auth, quota = _object(raw, "auth", wrong), _object(raw, "quota", wrong)
    return Manifest(
        name=name,
        path=path,
        label=_text(raw, "label") or name.rsplit(".", 1)[-1],
        in_ports=ins,
        out_ports=outs,
        properties_schema=_properties_schema(raw, wrong),
        auth_service=_text(auth, "service"),
        auth_scope=_strings(auth.get("scope")),
        quota_manager=_text(quota, "manager"),
        quota_resources=_strings(quota.get("resources")),
        quota_scope=quota["scope"] if isinstance(quota.get("scope"), Mapping) else {},
        quota_max_wait=_whole_number(quota.get("maxWait"), "quota.maxWait", wrong),
        fire_patterns=_fire_patterns(raw.get("firePatterns"), len(ins), wrong),
        tick=raw.get("tick") is True,
        webhook=raw.get("webhook") is True,
        webhook_async=raw.get("webhookAsync") is True,
        webhook_settings=raw.get("webhookSettings") is True,
        persistent=_object(raw, "state", wrong).get("persistent") is True,
        private=raw.get("private") is True,
        trigger=raw.get("trigger") is True or not ins,
        version=_text(raw, "version"),
        raw=raw,
    )


def _name(raw: Mapping[str, Any], wrong: Wrong) -> str:
    name = raw.get("name")
    if isinstance(name, str) and 3 <= len(name.split(".")) <= 4 and all(name.split(".")):
        return name
    wrong("name", 'must have three or four parts, such as "vendor.service.module.Component"')
    return str(name)


def _ports(raw: Mapping[str, Any], wrong: Wrong) -> tuple[tuple[InPort, ...], tuple[OutPort, ...]]:
    ins = tuple(_in_port(p, f"inPorts[{i}]", wrong) for i, p in enumerate(_list(raw, "inPorts", wrong)))
    outs = tuple(_out_port(p, f"outPorts[{i}]", wrong) for i, p in enumerate(_list(raw, "outPorts", wrong)))
    for kind, names in (("inPorts", [p.name for p in ins]), ("outPorts", [p.name for p in outs])):
        if len(set(names)) < len(names):
            wrong(kind, "two ports have the same name")
    return ins, outs


def _properties_schema(raw: Mapping[str, Any], wrong: Wrong) -> Mapping[str, Any] | None:
    schema = _object(raw, "properties", wrong).get("schema")
    if schema is None or isinstance(schema, Mapping):
        return schema
    wrong("properties.schema", "must be an object")
    return None


def _text(raw: Mapping[str, Any], key: str) -> str | None:
    value = raw.get(key)
    return value if isinstance(value, str) else None


def _list(raw: Mapping[str, Any], key: str, wrong: Wrong) -> list[Any]:
    value = raw.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        wrong(key, "must be a list of ports")
        return []
    return value


def _object(raw: Mapping[str, Any], key: str, wrong: Wrong) -> Mapping[str, Any]:
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        wrong(key, "must be an object")
        return {}
    return value


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def _whole_number(value: Any, where: str, wrong: Wrong) -> int | None:
    if value is None:
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        wrong(where, "must be a number of milliseconds")
        return None


def _port_base(raw: Any, where: str, wrong: Wrong) -> tuple[str, Mapping[str, Any]]:
    if isinstance(raw, str) and raw:
        return raw, {}
    if isinstance(raw, Mapping) and isinstance(raw.get("name"), str) and raw["name"]:
        for key in ("schema", "inspector", "source"):
            if raw.get(key) is not None and not isinstance(raw[key], Mapping):
                wrong(f"{where}.{key}", "must be an object")
        return raw["name"], raw
    wrong(where, "must be a port name or an object with a name")
    return "?", {}


def _in_port(raw: Any, where: str, wrong: Wrong) -> InPort:
    name, given = _port_base(raw, where, wrong)
    return InPort(
        name,
        _mapping(given.get("schema")),
        _mapping(given.get("inspector")),
        _mapping(given.get("source")),
        _whole_number(given.get("maxConnections"), f"{where}.maxConnections", wrong),
    )


def _out_port(raw: Any, where: str, wrong: Wrong) -> OutPort:
    name, given = _port_base(raw, where, wrong)
    options = given.get("options")
    return OutPort(
        name,
        tuple(o for o in options if isinstance(o, Mapping)) if isinstance(options, list) else (),
        _mapping(given.get("schema")),
        _mapping(given.get("source")),
        _whole_number(given.get("maxConnections"), f"{where}.maxConnections", wrong),
    )


def _mapping(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def _fire_patterns(raw: Any, ports: int, wrong: Wrong) -> tuple[tuple[Any, ...], ...]:
    if raw is None:
        return ()
    rows = raw if isinstance(raw, list) and raw and isinstance(raw[0], list) else [raw]
    for row in rows:
        if not isinstance(row, list) or len(row) != ports or any(s not in ("*", "A", 0, 1) for s in row):
            wrong("firePatterns", 'each row needs one of "*", 1, 0, "A" per in port')
            return ()
    return tuple(tuple(row) for row in rows)
