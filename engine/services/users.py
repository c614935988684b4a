"""Users: who they are, how they prove it, and the tokens they get (rest-api.md §1, §2)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jwt

from engine.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized
from engine.model.ids import object_id
from engine.model.times import iso
from engine.ports import Clock, Doc, Documents, Query, Where
from engine.rules.acl import ADMIN, Caller
from engine.services import passwords

DEFAULT_SCOPE = ["user"]
LONGEST_NAME = 320
FIRST = "0" * 24
"""Id of the administrator made at the first visit: two browsers cannot both make one."""

EDITABLE = ("scope", "vendor", "metadata", "email", "username", "plan", "isActive")


class Users:
    """`secret` is the installation's; `token_days` the longest life of a token; `signup` lets anybody join."""

    def __init__(self, *, documents: Documents, clock: Clock, secret: str, token_days: int, signup: bool) -> None:
        self._documents = documents
        self._clock = clock
        self._key = hmac.digest(secret.encode(), b"headrace token 1", "sha256")
        self._longest = token_days * 86_400
        self._signup = signup

    # -- becoming a user

    def create(self, fields: Mapping[str, Any], *, by: Caller | None = None) -> Doc:
        """Store a user. One of `username` and `email` suffices, the other is its copy.

        Only an administrator (`by`) may choose scope, vendor or plan, or create users when sign-up
        is closed (Forbidden). Raises BadRequest: a field is wrong, or the user exists (the status
        existing clients take for "exists", rest-api.md §1).
        """
        trusted = by is not None and by.admin
        if not (self._signup or trusted):
            raise Forbidden("sign-up is closed here: ask an administrator for a user")
        chosen = [f for f in ("scope", "vendor", "plan") if fields.get(f) not in (None, DEFAULT_SCOPE)]
        if chosen and not trusted:
            raise Forbidden(f"only an administrator may set {', '.join(chosen)} of a user")
        return self.add(fields)

    def create_first_admin(self, fields: Mapping[str, Any]) -> Doc:
        """The administrator made at the first visit. Raises Conflict once there is any user."""
        if not self.is_empty():
            raise Conflict("there are users already: sign in, or ask an administrator")
        return self._add({**fields, "scope": ["user", ADMIN]}, FIRST)

    def ensure_admin(self, email: str, password: str) -> None:
        """Create or update the administrator the settings name (HEADRACE_ADMIN_EMAIL, …_PASSWORD)."""
        found = self.find(email)
        if found is None:
            self.add({"email": email, "password": password, "scope": ["user", ADMIN]})
            return
        changes: dict[str, Any] = {}
        if not passwords.verify(found["password"], password):
            changes["password"] = passwords.hashed(passwords.check(password))
        if ADMIN not in found["scope"]:
            changes["scope"] = [*found["scope"], ADMIN]
        if not found["isActive"]:
            changes["isActive"] = True
        if changes:
            self._documents.update("users", found["_id"], changes)

    def is_empty(self) -> bool:
        return not self._documents.find("users", Query(limit=1, include=("_id",)))

    def add(self, fields: Mapping[str, Any]) -> Doc:
        """As `create`, for callers who are trusted anyway: the command line and the installation itself."""
        return self._add(fields, object_id())

    def _add(self, fields: Mapping[str, Any], id: str) -> Doc:
        username, email = _names(fields)
        secret = passwords.check(str(fields.get("password") or ""))
        if self._taken(username, email):
            raise BadRequest(f"user {username} exists already", code="USER_EXISTS")
        user = {
            "_id": id,
            "username": username,
            "email": email,
            "password": passwords.hashed(secret),
            "scope": list(fields.get("scope") or DEFAULT_SCOPE),
            "vendor": fields.get("vendor"),
            "plan": fields.get("plan") or "free",
            "metadata": dict(fields.get("metadata") or {}),
            "isActive": True,
            "created": self._clock.now(),
        }
        try:
            inserted = self._documents.insert("users", user)
        except Conflict as error:
            raise BadRequest(f"user {username} exists already", code="USER_EXISTS") from error
        if not inserted:
            raise Conflict("there are users already: sign in, or ask an administrator")
        return user

    def _taken(self, *names: str, but: str | None = None) -> bool:
        either = tuple(Where(field, "in", list(names)) for field in ("username", "email"))
        return any(u["_id"] != but for u in self._documents.find("users", Query(any_of=either, include=("_id",))))

    # -- proving it

    def authenticate(self, username: str, password: str) -> Doc:
        """The user of this username or e-mail address.

        Raises Forbidden alike for an unknown user and a wrong password: clients sign up on 403 (rest-api.md §1).
        """
        found = self.find(username)
        if not passwords.verify(found["password"] if found else None, password) or found is None:
            raise Forbidden("unknown user or wrong password", code="BAD_CREDENTIALS")
        if not found["isActive"]:
            raise Forbidden(f"user {found['username']} is locked: ask an administrator")
        if passwords.outdated(found["password"]):
            self._documents.update("users", found["_id"], {"password": passwords.hashed(password)})
        return found

    def issue_token(self, user: Doc, expires_in: int | None = None) -> str:
        """A token for `expires_in` seconds, by default as long as the settings allow. Raises BadRequest."""
        life = self._longest if expires_in is None else expires_in
        if not 1 <= life <= self._longest:
            raise BadRequest(f"expiresIn must be between 1 and {self._longest} seconds")
        now = self._clock.now() // 1000
        claims = {"id": user["_id"], "sub": user["_id"], "scope": user["scope"], "iat": now, "exp": now + life}
        return jwt.encode(claims, self._key, algorithm="HS256")

    def token(self, user_id: str) -> str:
        """A token for the platform's own calls in a user's name, good for an hour. Raises NotFound."""
        return self.issue_token(self.get(user_id), min(3600, self._longest))

    def verify_token(self, token: str) -> Caller:
        """Raises Unauthorized: not one of ours, expired, or of a user who is gone or locked."""
        # Times are checked here, against the clock port, not by the library.
        options: Any = {"require": ["exp", "sub"], "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        try:
            claims = jwt.decode(token, self._key, algorithms=["HS256"], options=options)
            expires = int(claims["exp"])
        except (jwt.InvalidTokenError, TypeError, ValueError) as error:
            raise Unauthorized("the token is not valid: sign in again", code="BAD_TOKEN") from error
        if expires * 1000 <= self._clock.now():
            raise Unauthorized("the token has expired: sign in again", code="TOKEN_EXPIRED")
        user = self._documents.get("users", claims["sub"])
        if user is None or not user["isActive"]:
            raise Unauthorized("the token's user is gone or locked", code="BAD_TOKEN")
        return caller_of(user)

    def session_user(self, user_id: str) -> tuple[Caller, str] | None:
        """An active user and a stamp that changes with the password; None when gone or locked."""
        user = self._documents.get("users", user_id)
        if user is None or not user["isActive"]:
            return None
        return caller_of(user), hashlib.sha256(user["password"].encode()).hexdigest()[:16]

    def change_password(self, user_id: str, old: str, new: str) -> None:
        """Raises BadRequest when `old` is wrong or `new` may not be used."""
        user = self.get(user_id)
        if not passwords.verify(user["password"], old):
            raise BadRequest("oldPassword is wrong")
        self._documents.update("users", user_id, {"password": passwords.hashed(passwords.check(new, "newPassword"))})

    # -- administration

    def find(self, name: str) -> Doc | None:
        """By username or e-mail address."""
        either = tuple(Where(field, "eq", normal(name)) for field in ("username", "email"))
        return next(iter(self._documents.find("users", Query(any_of=either, limit=1))), None)

    def get(self, user_id: str) -> Doc:
        """Raises NotFound."""
        user = self._documents.get("users", user_id)
        if user is None:
            raise NotFound(f"there is no user {user_id}", code="USER_NOT_FOUND")
        return user

    def list(self, query: Query) -> list[Doc]:
        """Raises BadRequest for a filter or order that would tell of password hashes."""
        return self._documents.find("users", _harmless(query))

    def count(self, query: Query) -> int:
        """Raises as `list`."""
        return self._documents.count("users", replace(_harmless(query), limit=None, offset=0))

    def update(self, user_id: str, fields: Mapping[str, Any], by: Caller) -> Doc:
        """Change what is given of scope, vendor, metadata, e-mail, username, plan, isActive, password.

        Raises NotFound; BadRequest: a name is taken, or administrators would lock themselves out.
        """
        user = self.get(user_id)
        changes = {name: fields[name] for name in EDITABLE if name in fields}
        for name in ("email", "username"):
            if name in changes:
                changes[name] = _name(changes[name], name)
        names = [changes[n] for n in ("email", "username") if n in changes]
        if names and self._taken(*names, but=user_id):
            raise BadRequest(f"{' or '.join(names)} is taken by another user", code="USER_EXISTS")
        if by.user_id == user_id and (ADMIN not in changes.get("scope", [ADMIN]) or changes.get("isActive") is False):
            raise BadRequest("you cannot take the administrator's rights from yourself")
        if "password" in fields:
            changes["password"] = passwords.hashed(passwords.check(fields["password"]))
        if changes:
            self._documents.update("users", user_id, changes)
        return {**user, **changes}


def caller_of(user: Doc) -> Caller:
    return Caller(user["_id"], user["username"], user["email"].lower(), frozenset(user["scope"]))


def public_user(user: Doc) -> dict[str, Any]:
    """The user as the API tells it: never the password; the id under both names (rest-api.md §2)."""
    names = ("username", "email", "isActive", "scope", "plan", "vendor", "metadata")
    told = {name: user.get(name) for name in names if name in user}
    if "created" in user:
        told["created"] = iso(user["created"])
    return {"id": user["_id"], "userId": user["_id"], **told}


def _harmless(query: Query) -> Query:
    paths = [condition.path for condition in query.where + query.any_of] + [path for path, _ in query.sort]
    if any(path.partition(".")[0] == "password" for path in paths):
        raise BadRequest("users cannot be filtered or sorted by their password")
    return query


def normal(name: str) -> str:
    """E-mail addresses compare without case; other usernames as they are."""
    name = name.strip()
    return name.lower() if "@" in name else name


def _name(value: Any, field: str) -> str:
    name = normal(value) if isinstance(value, str) else ""
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise BadRequest(f"{field} must be text of 1 to {LONGEST_NAME} printable characters")
    return name


def _names(fields: Mapping[str, Any]) -> tuple[str, str]:
    given = {f: _name(fields[f], f) for f in ("username", "email") if fields.get(f)}
    if not given:
        raise BadRequest("give a username or an email")
    either = next(iter(given.values()))
    return given.get("username", either), given.get("email", either)
