"""The first pages, from the first visit to a flow that answers; the tests follow each other on one server."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import NewPage

EMAIL, PASSWORD = "ada@acme.test", "correct horse"
HOOK: dict[str, Any] = {
    "type": "appmixer.utils.http.WebhookTrigger",
    "label": "New order",
    "config": {"properties": {"immediateResponse": False}},
}
ANSWER = {
    "type": "appmixer.utils.http.Response",
    "label": "Receipt",
    "source": {"in": {"hook": ["request"]}},
    "config": {
        "transform": {
            "in": {
                "hook": {
                    "request": {
                        "lambda": {"body": "{{{v}}}", "statusCode": 201},
                        "modifiers": {"body": {"v": {"variable": "$.hook.request.data", "functions": []}}},
                    }
                }
            }
        }
    },
}
ORDERS = {"name": "Orders", "description": "Answers orders.", "flow": {"hook": HOOK, "answer": ANSWER}}
BROKEN = {"name": "Broken", "flow": {"a": {"type": "acme.shop.core.Missing", "label": "Mystery"}}}
VIEWS = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 360, "height": 740}}


def upload(name: str, content: Any) -> Any:
    text = content if isinstance(content, str) else json.dumps(content)
    return {"name": name, "mimeType": "application/json", "buffer": text.encode()}


def row(page: Page, name: str) -> Any:
    return page.locator(".flow-row", has=page.get_by_role("link", name=name, exact=True))


def sign_in(page: Page) -> Page:
    page.goto("/app/flows")
    page.get_by_label("E-mail or user name").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Flows", exact=True)).to_be_visible()
    return page


def open_flow(page: Page, name: str) -> None:
    page.goto(f"/app/flows?pattern={name}")
    row(page, name).get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_label("Name of the flow")).to_have_value(name)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def test_the_first_visit_makes_the_administrator(new_page: NewPage) -> None:
    page = new_page()
    page.goto("/app/flows")
    expect(page.get_by_role("heading", name="Set up Headrace")).to_be_visible()
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your flows will be here")).to_be_visible()
    page.goto("/app/setup")
    expect(page).to_have_url(re.compile("/app/flows$"))


def test_a_wrong_password_is_told_and_the_right_one_leads_back(new_page: NewPage) -> None:
    page = new_page(expect_errors=("403",))
    page.goto("/app/flows?sort=name:1")
    page.get_by_label("E-mail or user name").fill(EMAIL)
    page.get_by_label("Password").fill("wrong wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong password")
    expect(page.get_by_label("E-mail or user name")).to_have_value(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r"/app/flows\?sort=name"))


def test_anybody_may_sign_up_and_sees_only_their_own(new_page: NewPage) -> None:
    page = new_page()
    page.goto("/app/sign-in")
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("E-mail").fill("bob@acme.test")
    page.get_by_label("Password").fill("another horse")
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", name="Your flows will be here")).to_be_visible()
    page.locator(".user-button").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_flows_are_imported_and_bad_files_are_told(new_page: NewPage) -> None:
    page = sign_in(new_page())
    page.set_input_files("#import-files", [upload("orders.json", ORDERS), upload("broken.json", BROKEN)])
    expect(page.get_by_text("Imported 2 flows.")).to_be_visible()
    expect(row(page, "Orders")).to_contain_text("Stopped")
    page.set_input_files("#import-files", [upload("bad.json", "{nope")])
    expect(page.get_by_text("bad.json: this is not JSON")).to_be_visible()


def test_a_file_dropped_on_the_page_is_imported(new_page: NewPage) -> None:
    page = sign_in(new_page())
    expect(row(page, "Orders")).to_be_visible()
    transfer = page.evaluate_handle(
        """text => { const t = new DataTransfer();
        t.items.add(new File([text], "dropped.json", {type: "application/json"})); return t; }""",
        json.dumps({"flow": {"hook": HOOK}}),
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    expect(page.get_by_text("Drop flow files to import them")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(row(page, "dropped")).to_be_visible()
    expect(page.get_by_text("Drop flow files to import them")).to_be_hidden()


def test_the_list_is_searched_filtered_and_sorted(new_page: NewPage) -> None:
    page = sign_in(new_page())
    page.keyboard.press("/")
    page.keyboard.type("ord")
    expect(row(page, "Broken")).to_be_hidden()
    expect(page).to_have_url(re.compile("pattern=ord"))
    page.reload()
    expect(row(page, "Orders")).to_be_visible()
    expect(row(page, "Broken")).to_be_hidden()
    page.get_by_label("Search flows by name").fill("no such flow")
    expect(page.get_by_role("heading", name="No flow matches")).to_be_visible()
    page.get_by_role("link", name="Show all flows").click()
    page.get_by_label("Running").check()
    expect(page.get_by_role("heading", name="No flow matches")).to_be_visible()
    page.get_by_label("All", exact=True).check()
    page.get_by_label("Sort by").select_option("Name")
    names = page.locator(".flow-name a")
    expect(names).to_have_text(["Broken", "Orders", "dropped"])


def test_more_flows_than_fit_are_paged(new_page: NewPage) -> None:
    page = sign_in(new_page())
    many = [{"name": f"Copy {number:02}", "flow": {"hook": HOOK}} for number in range(26)]
    page.set_input_files("#import-files", [upload("many.json", many)])
    expect(page.get_by_text("1–25 of 29")).to_be_visible()
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_text("26–29 of 29")).to_be_visible()
    expect(page.locator(".flow-row")).to_have_count(4)
    page.go_back()
    expect(page.get_by_text("1–25 of 29")).to_be_visible()


def test_a_flow_that_is_not_ready_says_why(new_page: NewPage) -> None:
    page = sign_in(new_page())
    open_flow(page, "Broken")
    expect(page.get_by_text("Unknown component")).to_be_visible()
    page.get_by_role("button", name="Start flow").click()
    expect(page.get_by_role("alert")).to_contain_text("acme.shop.core.Missing")


def test_starting_shows_in_every_open_page(new_page: NewPage) -> None:
    listing = sign_in(new_page())
    flow = sign_in(new_page())
    open_flow(flow, "Orders")
    listing.goto("/app/flows?pattern=Orders")
    expect(listing.locator("html")).to_have_attribute("data-live", "live")
    listing.get_by_role("button", name="Start Orders").click()
    expect(row(listing, "Orders")).to_contain_text("Running")
    expect(flow.locator("#flow-head [data-stage]")).to_have_text("Running")
    expect(flow.locator(".log-row")).to_contain_text(["Flow started"])


def test_a_test_event_is_answered_and_logged_live(new_page: NewPage) -> None:
    page = sign_in(new_page())
    open_flow(page, "Orders")
    page.get_by_label("Body").fill('{"order": 17}')
    page.keyboard.press("Control+Enter")
    answer = page.locator("#answer")
    expect(answer).to_contain_text("201")
    expect(answer).to_contain_text("order: 17")
    logged = page.locator(".log-row", has_text="Receipt").first
    expect(logged).to_be_visible()
    logged.locator("summary").first.focus()
    page.keyboard.press("Enter")
    expect(logged.locator(".log-detail")).to_contain_text("order: 17")
    logged.get_by_role("button", name="Show only this execution").click()
    expect(page.locator(".log-row", has_text="Flow started")).to_have_count(0)
    page.get_by_role("button", name="One execution").click()
    expect(page.locator(".log-row", has_text="Flow started")).to_have_count(1)


def test_a_call_from_outside_shows_in_the_log_unless_paused(new_page: NewPage) -> None:
    page = sign_in(new_page())
    open_flow(page, "Orders")
    hook = page.locator("#hook").text_content() or ""
    page.get_by_role("button", name="Pause").click()
    call(hook, {"note": "quietly"})
    expect(page.get_by_role("button", name=re.compile(r"Resume [1-9]"))).to_be_visible()
    expect(page.locator(".log-row", has_text="quietly")).to_have_count(0)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".log-row", has_text="quietly").first).to_be_visible()
    page.get_by_label("Search the run log").fill("loudly")
    expect(page.get_by_role("heading", name="No record matches")).to_be_visible()
    call(hook, {"note": "loudly"})
    expect(page.locator(".log-row", has_text="loudly").first).to_be_visible()
    expect(page.locator(".log-row", has_text="quietly")).to_have_count(0)


def call(hook: str, body: Any) -> None:
    request = urllib.request.Request(hook, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=15) as answer:
        assert answer.status == 201


def test_a_flow_is_renamed_where_its_name_stands(new_page: NewPage) -> None:
    page = sign_in(new_page())
    open_flow(page, "dropped")
    name = page.get_by_label("Name of the flow")
    name.fill("Dropped by hand")
    page.keyboard.press("Escape")
    expect(name).to_have_value("dropped")
    name.fill("Dropped & kept “here”")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Renamed.")).to_be_visible()
    page.reload()
    expect(name).to_have_value("Dropped & kept “here”")


def test_an_exported_flow_can_be_imported(new_page: NewPage, tmp_path: Path) -> None:
    page = sign_in(new_page(accept_downloads=True))
    page.goto("/app/flows?pattern=Orders")
    page.get_by_role("button", name="More for Orders").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as JSON").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "Orders.json"
    exported = json.loads(path.read_text())
    assert exported["flow"]["answer"]["config"] == ANSWER["config"]
    page.set_input_files("#import-files", str(path))
    expect(page.locator(".flow-row")).to_have_count(2)


def test_deleting_asks_first_and_works_by_keyboard_alone(new_page: NewPage) -> None:
    page = sign_in(new_page())
    page.goto("/app/flows?pattern=Copy+25")
    more = page.get_by_role("button", name="More for Copy 25")
    more.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Open")).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete “Copy 25”?")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(row(page, "Copy 25")).to_be_visible()
    more.click()
    page.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Deleted “Copy 25”.")).to_be_visible()
    expect(row(page, "Copy 25")).to_have_count(0)


def test_appearance_follows_the_choice_without_a_flash(new_page: NewPage) -> None:
    page = sign_in(new_page(color_scheme="light"))
    page.locator(".user-button").click()
    page.get_by_label("Dark").check()
    background = "() => getComputedStyle(document.body.parentElement).backgroundColor"
    dark = page.evaluate(background)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate(background) == dark
    page.locator(".user-button").click()
    page.get_by_label("System").check()
    page.reload()
    assert page.evaluate(background) != dark


def test_a_session_that_ended_leads_to_the_sign_in_page(new_page: NewPage) -> None:
    page = sign_in(new_page(expect_errors=("401",)))
    expect(page.locator("html")).to_have_attribute("data-live", "live")
    page.context.clear_cookies()
    page.get_by_label("Search flows by name").fill("x")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_what_is_not_there_has_a_page_that_leads_on(new_page: NewPage) -> None:
    page = sign_in(new_page(expect_errors=("404",)))
    expect(row(page, "Copy 24")).to_be_visible()
    page.goto("/app/flows/none")
    expect(page.get_by_text("There is no flow none.")).to_be_visible()
    page.get_by_role("link", name="Go to the flows").click()
    expect(row(page, "Copy 24")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_no_page_is_wider_than_its_window(new_page: NewPage, view: str, scheme: str) -> None:
    page = sign_in(new_page(viewport=VIEWS[view], color_scheme=scheme))
    page.goto("/app/flows?pattern=Orders")
    flow = row(page, "Orders").first.get_by_role("link").first.get_attribute("href") or ""
    for path in ("/app/flows", flow, "/docs", "/app/flows?pattern=none"):
        page.goto(path)
        assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), path


def test_the_navigation_of_a_phone_opens_and_closes(new_page: NewPage) -> None:
    page = sign_in(new_page(viewport=VIEWS["phone"]))
    expect(page.get_by_role("link", name="API reference")).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="API reference").click()
    expect(page.get_by_role("heading", name="Headrace API")).to_be_visible()
