"""Who is asking: a bearer token (programs, embeds) or a cookie session (pages).

A request with a bearer ignores cookies altogether and needs no CSRF token; an unsafe request
that a cookie vouches for needs one, in the header `X-CSRF-Token` or the form field `csrf_token`
(design-browser.md §2).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from flask import Flask, Request, Response, current_app, g, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_login import AnonymousUserMixin, LoginManager, UserMixin, current_user, login_user, logout_user

from engine.errors import BadRequest, Conflict, Forbidden, HeadraceError, Unauthorized
from engine.ports import Doc
from engine.rules.acl import Caller
from webapp.current import EXTENSION, platform
from webapp.limits import Attempts, caller_address, check_sign_ups

T = TypeVar("T")

SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"


class SignedIn(UserMixin):
    """Flask-Login's user. Its id ends in a stamp of the password, so that a new password ends old sessions."""

    def __init__(self, caller: Caller, stamp: str) -> None:
        self.caller = caller
        self.stamp = stamp

    def get_id(self) -> str:
        return f"{self.caller.user_id}:{self.stamp}"


class Sessions(SecureCookieSessionInterface):
    """Cookie sessions, except that a request with a bearer has an empty one that is never sent."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        return SecureCookieSession() if bearer(request) is not None else super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if bearer(request) is None:
            super().save_session(app, session, response)


def register(app: Flask, key: bytes) -> None:
    app.secret_key = key
    app.session_interface = Sessions()
    app.config.update(
        SESSION_COOKIE_NAME="headrace",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=app.extensions[EXTENSION].settings.url.startswith("https://"),
        PERMANENT_SESSION_LIFETIME=timedelta(days=30),
    )
    manager = LoginManager(app)  # type: ignore[no-untyped-call]
    manager.user_loader(_from_cookie)  # type: ignore[no-untyped-call]
    manager.request_loader(_from_bearer)  # type: ignore[no-untyped-call]
    app.before_request(check_csrf)
    app.jinja_env.globals["csrf_token"] = csrf_token


def bearer(asking: Request) -> str | None:
    """The token of an `Authorization: Bearer …` header, its scheme in any case; None without such a header."""
    scheme, _, token = asking.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _from_cookie(id: str) -> SignedIn | None:
    user_id, _, stamp = id.partition(":")
    found = platform().users.session_user(user_id)
    if found is None or not hmac.compare_digest(found[1], stamp):
        return None
    return SignedIn(*found)


def _from_bearer(asking: Request) -> SignedIn | None:
    token = bearer(asking)
    if token is None:
        return None
    try:
        return SignedIn(platform().users.verify_token(token), "")
    except Unauthorized as error:
        g.token_problem = error  # raised by `caller`, where an identity is needed
        return None


def caller() -> Caller:
    """The signed-in user. Raises Unauthorized: no token, a bad or an expired one."""
    found = caller_or_none()
    if found is None:
        raise g.pop("token_problem", None) or Unauthorized("sign in, or send a token: Authorization: Bearer <token>")
    return found


def caller_or_none() -> Caller | None:
    found = getattr(current_user, "caller", None)  # nobody signed in: Flask-Login's anonymous user
    return found if isinstance(found, Caller) else None


def known_caller() -> Caller | None:
    """The signed-in user if this request has already asked; for logs, without a look-up."""
    user = g.get("_login_user")
    return user.caller if isinstance(user, SignedIn) else None


def authenticate(username: str, password: str) -> Doc:
    """The user document. Raises Forbidden (unknown user, wrong password), TooManyRequests after many failures."""
    attempts = Attempts(platform().cache, "sign-in", username, _address())
    attempts.check()
    return _counted(attempts, (Forbidden,), lambda: platform().users.authenticate(username, password))


def sign_up(fields: dict[str, Any], by: Caller | None = None) -> Doc:
    """A new user document. Raises as `Users.create`, TooManyRequests after many failures or sign-ups."""
    account = str(fields.get("username") or fields.get("email") or "")
    attempts = Attempts(platform().cache, "sign-up", account, _address())
    attempts.check()
    if by is None or not by.admin:
        check_sign_ups(platform().cache, _address(), platform().settings.signup_rate)
    return _counted(attempts, (BadRequest, Conflict, Forbidden), lambda: platform().users.create(fields, by=by))


def new_password(old: str, new: str) -> None:
    """Change the caller's password. Raises BadRequest, TooManyRequests after many failures."""
    who = caller()
    attempts = Attempts(platform().cache, "password", who.user_id, _address())
    attempts.check()
    _counted(attempts, (BadRequest,), lambda: platform().users.change_password(who.user_id, old, new))


def _address() -> str:
    return caller_address(request.environ, platform().settings.proxies)


def _counted(attempts: Attempts, failures: tuple[type[HeadraceError], ...], work: Callable[[], T]) -> T:
    try:
        result = work()
    except failures:
        attempts.failed()
        raise
    attempts.succeeded()
    return result


def sign_in(user: Doc) -> None:
    """Begin a cookie session for a user document; what an earlier session held is gone."""
    session.clear()
    session.permanent = True
    found = platform().users.session_user(user["_id"])
    if found is None:
        raise Unauthorized(f"user {user['username']} cannot sign in")
    login_user(SignedIn(*found))  # type: ignore[no-untyped-call]


def sign_out() -> None:
    logout_user()  # type: ignore[no-untyped-call]
    session.clear()


def csrf_token() -> str:
    if CSRF_FIELD not in session:
        session[CSRF_FIELD] = secrets.token_urlsafe(24)
    return str(session[CSRF_FIELD])


def check_csrf() -> None:
    """Raises Forbidden for an unsafe request that only a cookie vouches for and that lacks the page's token.

    Where anybody may ask, such a request is answered as anybody's: a page of another origin must not
    use the rights of whoever looks at it.
    """
    if request.method in SAFE or request.endpoint is None or bearer(request) is not None:
        return
    described = getattr(current_app.view_functions.get(request.endpoint), "operation", None)
    if described is not None and described.auth == "none":
        if not _has_page_token():
            g._login_user = AnonymousUserMixin()  # where Flask-Login keeps the user of a request
        return
    if described is not None and caller_or_none() is None:
        return  # refused by the view itself
    if not _has_page_token():
        raise Forbidden("this page has expired: load it again and repeat what you did", code="CSRF")


def _has_page_token() -> bool:
    expected = session.get(CSRF_FIELD)
    if not expected:
        return False  # without reading the form: the view may want the body as it came
    given = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD) or ""
    return hmac.compare_digest(given.encode(), str(expected).encode())
