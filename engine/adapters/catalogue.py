"""The connectors on disk: manifests as data, behaviours imported when first used.

A folder of connectors is laid out `<vendor>/<service>[/<module>]/<Component>/component.json`
(engine.md §1). A component is known by the name in its manifest and by its folder path.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson

from engine.errors import BadRequest, NotFound
from engine.model.manifest import Manifest, password_fields, read_manifest
from engine.sdk import Component, Quota

log = logging.getLogger(__name__)

BUILT_IN = Path(__file__).parents[2] / "connectors"


@dataclass(frozen=True, slots=True)
class AuthModule:
    """A service's `auth.py` (engine.md §7): its kind, its form and its functions, each with one argument."""

    service: str
    type: str
    fields: Mapping[str, Mapping[str, Any]]
    validate: Callable[[Any], Any] | None = None
    request_profile_info: Callable[[Any], Any] | None = None
    account_name_from_profile_info: str | Callable[[Any], Any] | None = None


@dataclass(slots=True)
class ComponentType:
    """One component of the catalogue; `behaviour` is shared by all its uses in the process."""

    manifest: Manifest
    folder: Path
    root: Path
    auth: Callable[[str], AuthModule | None] = field(repr=False)
    _behaviour: Component | None = field(default=None, repr=False)
    _password_fields: frozenset[str] | None = field(default=None, repr=False)

    @property
    def trusted(self) -> bool:
        """The product's own component."""
        return self.root == BUILT_IN

    @property
    def behaviour(self) -> Component:
        """Raises BadRequest when the component has no code, or code that cannot be used."""
        if self._behaviour is None:
            module = _import(self.folder / "component.py", self.root)
            cls = getattr(module, self.folder.name, None)
            if not (isinstance(cls, type) and issubclass(cls, Component)):
                raise BadRequest(f"{self.manifest.name}: component.py has no class {self.folder.name}(Component)")
            self._behaviour = cls()
        return self._behaviour

    @property
    def password_fields(self) -> frozenset[str]:
        """Names of the fields its manifest and its service's auth form declare as passwords."""
        if self._password_fields is None:
            service = self.manifest.auth_service
            form = self.auth(service) if service else None
            secret = {name for name, given in (form.fields if form else {}).items() if given.get("type") == "password"}
            self._password_fields = password_fields(self.manifest.raw) | secret
        return self._password_fields


class Catalogue:
    """All connectors of the given folders; a later folder's component replaces an earlier one's."""

    def __init__(self, *roots: Path) -> None:
        self._types: dict[str, ComponentType] = {}
        self._by_path: dict[str, ComponentType] = {}
        self._services: dict[str, dict[str, Any]] = {}
        self._modules: dict[str, dict[str, Any]] = {}
        self._auth: dict[str, AuthModule | None] = {}
        self._quotas: dict[str, tuple[Quota, ...]] = {}
        self._lock = threading.Lock()
        self._roots = roots
        for root in roots:
            self._load(root)

    def _load(self, root: Path) -> None:
        for path, raw, error in read_all(root):
            where = path.parent.relative_to(root).as_posix()
            if error is not None:
                log.error("%s: %s", path, error, extra={"action": "manifest_skipped"})
            elif path.name == "service.json":
                self._services[where.replace("/", ".")] = raw
            elif path.name == "module.json":
                self._modules[where.replace("/", ".")] = raw
            elif path.name == "component.json":
                component = ComponentType(read_manifest(raw, where), path.parent, root, self.auth)
                self._types[component.manifest.name] = component
                self._by_path[where.replace("/", ".")] = component

    def get(self, type: str) -> ComponentType | None:
        """By the manifest's name, or by the folder path with dots or slashes."""
        dotted = type.replace("/", ".")
        return self._types.get(dotted) or self._by_path.get(dotted)

    def require(self, type: str) -> ComponentType:
        if (found := self.get(type)) is None:
            raise NotFound(f"there is no component {type!r}", code="UNKNOWN_COMPONENT")
        return found

    def manifests(self) -> list[Manifest]:
        return [component.manifest for _, component in sorted(self._types.items())]

    def apps(self) -> dict[str, dict[str, Any]]:
        """GET /apps (rest-api.md §4): a service without modules, or each module with a module.json, is one app."""
        split = {name.rsplit(".", 1)[0] for name in self._modules}
        described = {**{n: s for n, s in self._services.items() if n not in split}, **self._modules}
        result = {}
        for name, raw in sorted(described.items()):
            keys = ("label", "category", "categoryLabel", "categoryIndex", "index", "description", "icon", "version")
            result[name] = {"name": name, **{key: raw[key] for key in keys if key in raw}}
        return result

    def app_of(self, type: str) -> str:
        """The app a component is shown under: its module's, else its service's."""
        parts = type.split(".")
        module = ".".join(parts[:3])
        return module if module in self._modules else ".".join(parts[:2])

    def icon(self, type: str) -> str | None:
        """A component's own icon, else its module's, else its service's: a data URI."""
        component = self.get(type)
        parts = type.split(".")
        candidates = (
            component.manifest.raw.get("icon") if component else None,
            self._modules.get(".".join(parts[:3]), {}).get("icon"),
            self._services.get(".".join(parts[:2]), {}).get("icon"),
        )
        return next((icon for icon in candidates if isinstance(icon, str) and icon), None)

    def auth(self, service: str) -> AuthModule | None:
        """The auth module of "vendor:service[:module]"; a module without one falls back to its service's."""
        with self._lock:
            if service not in self._auth:
                self._auth[service] = self._load_auth(service)
            return self._auth[service]

    def _load_auth(self, service: str) -> AuthModule | None:
        parts = service.split(":")
        for length in range(len(parts), 1, -1):
            for root in reversed(self._roots):
                path = root.joinpath(*parts[:length], "auth.py")
                if path.is_file():
                    module = _import(path, root)
                    return AuthModule(
                        service,
                        getattr(module, "type", "apiKey"),
                        getattr(module, "auth", {}),
                        getattr(module, "validate", None),
                        getattr(module, "request_profile_info", None),
                        getattr(module, "account_name_from_profile_info", None),
                    )
        return None

    def quota_rules(self, manifest: Manifest) -> tuple[Quota, ...]:
        """The rules a component picks by manager and resources (engine.md §6); all of them must pass."""
        if manifest.quota_manager is None:
            return ()
        wanted = set(manifest.quota_resources)
        return tuple(r for r in self._quota_rules(manifest) if not wanted or r.resource in wanted or r.resource == "*")

    def _quota_rules(self, manifest: Manifest) -> tuple[Quota, ...]:
        parts = (manifest.quota_manager or "").split(":")
        if len(parts) == 1:
            parts = [manifest.name.split(".")[0], *parts]
        key = ":".join(parts)
        with self._lock:
            if key not in self._quotas:
                found = (root.joinpath(*parts, "quota.py") for root in reversed(self._roots))
                path = next((p for p in found if p.is_file()), None)
                root = next((r for r in self._roots if path and path.is_relative_to(r)), BUILT_IN)
                self._quotas[key] = tuple(getattr(_import(path, root), "rules", ())) if path else ()
            return self._quotas[key]

    def transform(self, component: ComponentType, reference: str) -> Callable[[Any], Any]:
        """The function `path#name` of a source's `transform`, its path relative to the component's folder.

        Raises NotFound naming the reference.
        """
        path, _, name = reference.partition("#")
        base = (component.folder / path).resolve()
        if base.is_relative_to(component.root.resolve()):
            for candidate in (base.with_name(base.name + ".py"), base / "component.py", base / "transformers.py"):
                if candidate.is_file() and hasattr(module := _import(candidate, component.root), name):
                    function: Callable[[Any], Any] = getattr(module, name)
                    return function
        raise NotFound(f"{component.manifest.name} has no transform {reference!r}")


def read_all(root: Path) -> Iterator[tuple[Path, dict[str, Any], BadRequest | None]]:
    """Every component.json, service.json and module.json below `root` with its content, or what is wrong with it."""
    for path in sorted(root.rglob("*.json")):
        if path.name not in ("component.json", "service.json", "module.json"):
            continue
        try:
            raw = orjson.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
            if path.name == "component.json":
                read_manifest(raw)
            elif not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
                raise BadRequest("name: must be given", details=[{"path": "name", "message": "must be given"}])
        except OSError as error:
            text = f"cannot be read: {error.strerror}"
            yield path, {}, BadRequest(text, details=[{"path": "", "message": text}])
        except orjson.JSONDecodeError as error:
            problem = BadRequest(f"not JSON: {error}", details=[{"path": "", "message": f"not JSON: {error}"}])
            yield path, {}, problem
        except BadRequest as error:
            yield path, {}, error
        else:
            yield path, raw, None


def _import(path: Path, root: Path) -> ModuleType:
    """Import a connector's file under a package name that mirrors its folders, so relative imports work.

    Raises BadRequest when there is no such file, or it cannot be imported.
    """
    place = path.relative_to(root).as_posix()
    if not path.is_file():
        raise BadRequest(f"{path.name} is missing in {path.parent.relative_to(root).as_posix()}")
    package = "connectors" if root.resolve() == BUILT_IN.resolve() else _package(root)
    try:
        return importlib.import_module(f"{package}.{place.removesuffix('.py').replace('/', '.')}")
    except (Exception, SystemExit) as error:  # whatever somebody else's code does when it is loaded
        raise BadRequest(f"{place} cannot be loaded: {type(error).__name__}: {error}") from error


def _package(root: Path) -> str:
    package = f"headrace_connectors_{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"
    if package not in sys.modules:
        spec = importlib.machinery.ModuleSpec(package, None, is_package=True)
        module = importlib.util.module_from_spec(spec)
        module.__path__ = [str(root)]
        sys.modules[package] = module
    return package
