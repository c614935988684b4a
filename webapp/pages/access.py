"""Coming in and going out: sign-in, sign-up, the first administrator, sign-out."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from engine.errors import HeadraceError
from engine.ports import Doc
from webapp import session
from webapp.current import platform
from webapp.pages.layout import own_path

pages = Blueprint("pages_access", __name__)


@pages.get("/app")
def home() -> ResponseReturnValue:
    return redirect("/app/flows")


@pages.route("/app/sign-in", methods=["GET", "POST"])
def sign_in() -> ResponseReturnValue:
    if platform().users.is_empty():
        return redirect("/app/setup")
    if request.method == "POST":
        return _enter("sign-in", lambda form: session.authenticate(form["email"], form["password"]))
    if session.caller_or_none() is not None:
        return redirect(own_path(request.args.get("next")))
    return _form("sign-in")


@pages.route("/app/sign-up", methods=["GET", "POST"])
def sign_up() -> ResponseReturnValue:
    if platform().users.is_empty():
        return redirect("/app/setup")
    if not platform().settings.signup:
        return redirect("/app/sign-in")
    if request.method == "POST":
        return _enter("sign-up", session.sign_up)
    return _form("sign-up")


@pages.route("/app/setup", methods=["GET", "POST"])
def setup() -> ResponseReturnValue:
    if not platform().users.is_empty():
        return redirect("/app/sign-in")
    if request.method == "POST":
        return _enter("setup", platform().users.create_first_admin)
    return _form("setup")


@pages.post("/app/sign-out")
def sign_out() -> ResponseReturnValue:
    session.sign_out()
    return redirect("/app/sign-in")


def _enter(kind: str, find_user: Any) -> ResponseReturnValue:
    form = {name: request.form.get(name, "") for name in ("email", "password")}
    try:
        user: Doc = find_user(form)
    except HeadraceError as error:
        return _form(kind, error)
    session.sign_in(user)
    return redirect(own_path(request.form.get("next")))


def _form(kind: str, problem: HeadraceError | None = None) -> Response:
    context = {
        "kind": kind,
        "values": {"email": request.form.get("email", "")},
        "problem": problem,
        "next": own_path(request.values.get("next")),
        "signup": platform().settings.signup,
    }
    return make_response(render_template("pages/access.html", **context), problem.status if problem else 200)
