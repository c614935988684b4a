"""Calls into the `auth.py` of a connector (engine.md §7): checks a form, names the account.

Such a module is somebody else's code that talks to somebody else's server: whatever it raises
becomes a BadRequest that says what the service said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from engine.errors import BadRequest, HeadraceError, Unavailable
from engine.model.times import from_iso
from engine.ports import Http

log = logging.getLogger(__name__)

MAX_TOKEN = 64 * 1024
PASSWORD_FORM: Mapping[str, Mapping[str, Any]] = {
    "username": {"type": "text", "name": "Username", "required": True},
    "password": {"type": "password", "name": "Password", "required": True},
}


class AuthModule(Protocol):
    """What `catalogue.auth(service)` gives. `fields` is the form: {field: {type, name, tooltip, required?}}."""

    @property
    def service(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def validate(self) -> Callable[[Any], Any] | None: ...
    @property
    def request_profile_info(self) -> Callable[[Any], Any] | None: ...
    @property
    def account_name_from_profile_info(self) -> str | Callable[[Any], Any] | None: ...


@dataclass(frozen=True, slots=True)
class AuthContext:
    """What a function of an auth module is given.

    `auth` holds the form's fields (or the tokens) and the service's configuration; each is also an
    attribute (`context.api_key` is `context.auth["api_key"]`). `http` is the only way out.
    """

    auth: Mapping[str, Any]
    config: Mapping[str, Any]
    profile_info: Mapping[str, Any]
    http: Http

    def __getattr__(self, name: str) -> Any:
        try:
            return self.auth[name]
        except KeyError:
            raise AttributeError(f"the form has no field {name!r}") from None

    def log(self, content: Any) -> None:
        """Into the process log; form fields must not be given to it."""
        log.info("%s", content, extra={"action": "auth_module"})


def form_of(module: AuthModule) -> Mapping[str, Mapping[str, Any]]:
    return module.fields or (PASSWORD_FORM if module.type == "pwd" else {})


def read_token(module: AuthModule, given: Any) -> dict[str, Any]:
    """The fields as sent: an object, or its JSON text. Raises BadRequest naming what is missing."""
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError as error:
            raise BadRequest("token: must be an object, or its JSON text") from error
    if not isinstance(given, dict):
        raise BadRequest("token: must be an object of the fields the service asks for")
    if len(orjson.dumps(given)) > MAX_TOKEN:
        raise BadRequest(f"token: may have at most {MAX_TOKEN} bytes")
    form = form_of(module)
    missing = [name for name, field in form.items() if field.get("required") and given.get(name) in (None, "")]
    if missing:
        raise BadRequest(
            f"token.{missing[0]}: must be given to connect {module.service}",
            details=[{"path": f"token.{name}", "message": "must be given"} for name in missing],
        )
    if module.type in ("apiKey", "pwd") and not any(name in given for name in form):
        raise BadRequest(f"token: {module.service} asks for {', '.join(form) or 'no field at all'}")
    return given


def validate(module: AuthModule, context: AuthContext, now_ms: int) -> dict[str, Any]:
    """Ask the module whether the fields are right. → what to keep besides: {token, expires (epoch ms)}, or {}.

    Raises BadRequest with the service's own words, Unavailable when it could not be reached.
    """
    if module.validate is None:
        return {}
    answer = _call(module, "the account was refused", module.validate, context)
    if module.type != "pwd" or not isinstance(answer, Mapping) or "token" not in answer:
        return {}
    return {"token": answer["token"], "expires": expiry(answer.get("expires"), now_ms)}


def profile(module: AuthModule, context: AuthContext) -> dict[str, Any]:
    """Who the account belongs to, as the service tells it; {} when the module does not ask."""
    if module.request_profile_info is None:
        return {}
    answer = _call(module, "the profile could not be read", module.request_profile_info, context)
    return dict(answer) if isinstance(answer, Mapping) else {}


def account_name(module: AuthModule, context: AuthContext) -> str:
    """A name to show: from the profile or the form (never a password field), else the service's own name."""
    source = module.account_name_from_profile_info
    name: Any = None
    if callable(source):
        name = _call(module, "the account could not be named", source, context)
    elif source:
        form = form_of(module)
        secret = form.get(source, {}).get("type") == "password"
        name = _at(context.profile_info, source)
        if name is None and not secret:
            name = _at(context.auth, source)
    if isinstance(name, str | int) and not isinstance(name, bool) and str(name).strip():
        return str(name).strip()[:255]
    return module.service.rpartition(":")[2]


def expiry(given: Any, now_ms: int) -> int | None:
    """When a password token ends, in epoch ms: a date, a timestamp (s or ms), or seconds of life (engine.md §7)."""
    if isinstance(given, datetime):
        return round((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1000)
    try:
        number = float(given)
    except (TypeError, ValueError):
        try:
            return from_iso(given)
        except (TypeError, ValueError):
            return None
    if not 0 <= number < 1e15:
        return None
    if number >= 1e11:
        return round(number)
    return round(number * 1000) if number >= 1e9 else now_ms + round(number * 1000)


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _call(module: AuthModule, what: str, function: Callable[[Any], Any], context: AuthContext) -> Any:
    try:
        return function(context)
    except Unavailable:
        raise
    except HeadraceError as error:
        raise BadRequest(f"{module.service}: {what}: {error.message}") from error
    except Exception as error:  # a connector's own code may raise anything
        raise BadRequest(f"{module.service}: {what}: {error or type(error).__name__}") from error
