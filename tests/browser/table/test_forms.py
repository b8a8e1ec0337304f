"""A form in a real JupyterLab, as a person uses it: keys, a picker, errors, one call."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

SETUP = """\
import time
from datetime import datetime
from typing import Literal
import livedb
from livedb import Id
db = livedb.open()
@db.table("users")
class User:
    name: str
    email: str
@db.table("tasks")
class Task:
    title: str
    user: Id[User]
ann = db["users"].insert([{"name": name, "email": f"{name.lower()}@example.org"} for name in
    ["Ann", "Bob", "Chidi", "Dana", "Joanna", "<img src=x onerror='window.pwned=1'>"]])[0]
@db.mutation
def add_task(ctx, title: str, user: Id[User], status: Literal["todo", "done"] = "todo",
        effort: int | None = None, due: datetime | None = None, tags: list[str] = [],
        note: str = "", urgent: bool = False) -> Id[Task]:
    "Add a task to somebody's list."
    time.sleep(0.3)
    if title == "refuse":
        raise livedb.ApplicationError("the list of <b>Ann</b> is full")
    return ctx.db.insert(Task, {"title": title, "user": user})
"""


def test_a_form_is_filled_in_by_keys_and_calls_its_mutation_once(open_notebook):
    page = open_notebook("form", SETUP, "add_task.form()", "db['tasks'].live()")
    page.run_all()
    output = page.output(1)
    form = output.locator(".livedb-form")
    form.scroll_into_view_if_needed()
    title = form.get_by_label("title")
    page.screenshot("form-empty")

    # Nothing was chosen: said at the field, which has the focus then.
    title.fill("Ship it")
    title.press("Enter")
    user = form.get_by_role("combobox", name=re.compile("user"))
    expect(user).to_have_attribute("aria-invalid", "true")
    expect(form).to_contain_text("Choose one.")
    expect(user).to_be_focused()

    user.press_sequentially("ann")
    expect(form.locator(".livedb-option")).to_have_text([re.compile("Ann"), re.compile("Joanna")])
    user.press("ArrowDown")
    page.screenshot("form-picking")
    user.press("ArrowUp")
    user.press("Enter")
    expect(form.locator(".livedb-chip")).to_contain_text("Ann")

    effort = form.get_by_label("effort")
    effort.fill("a lot")
    expect(form).to_contain_text("This is no whole number.")
    assert page.value("db['tasks'].count()") == "0"
    page.screenshot("form-wrong")
    effort.fill("3")
    expect(form).not_to_contain_text("This is no whole number.")

    # The function's own error keeps what was typed; pressed twice, it is called once.
    title.fill("refuse")
    form.get_by_role("button", name="add_task").click()
    expect(form.get_by_role("button", name="add_task")).to_be_disabled()
    expect(form.get_by_role("status").last).to_contain_text("the list of <b>Ann</b> is full")
    page.screenshot("form-refused")
    assert title.input_value() == "refuse"
    title.fill("Ship it")
    title.press("Enter")
    title.press("Enter")
    expect(form.get_by_role("status").last).to_contain_text("done")
    assert title.input_value() == ""
    expect(title).to_be_focused()
    page.screenshot("form-done")
    page.change_theme("dark")
    effort.fill("a lot")
    expect(form).to_contain_text("This is no whole number.")
    page.screenshot("form-dark")
    page.change_theme("light")
    assert page.value("db['tasks'].count()") == "1"
    expect(page.output(2).locator(".livedb tbody")).to_contain_text("Ship it")
    assert page.page.evaluate("window.pwned") is None


def test_a_form_whose_kernel_restarted_says_so_and_keeps_what_was_typed(open_notebook):
    page = open_notebook("form-restart", SETUP, "add_task.form()")
    page.run_all()
    form = page.output(1).locator(".livedb-form")
    form.get_by_label("title").fill("Ship it")
    page.restart_kernel()
    expect(form).to_contain_text("what you typed is still here")
    assert form.get_by_label("title").input_value() == "Ship it"
    expect(form.get_by_role("button", name="add_task")).to_be_disabled()


DASHBOARD = """\
import ipywidgets
@db.query
def tasks_of(ctx, user: Id[User]) -> list[Task]:
    return [task for task in ctx.db.query(Task) if task.user == user]
picker = ipywidgets.Dropdown(options=[(user.name, user["_id"]) for user in db["users"].collect()])
mine = tasks_of.live(user=picker)
everybody = db["users"].live()
for n in range(3):
    db["tasks"].insert({"title": f"task {n}", "user": ann})
"""


@pytest.mark.parametrize("parts", ["everybody", "picker, everybody"], ids=["html", "widgets"])
def test_a_dashboard_shows_handles_forms_and_widgets_side_by_side(open_notebook, parts):
    page = open_notebook(
        f"dashboard-{len(parts)}",
        SETUP,
        DASHBOARD,
        f"livedb.dashboard('Tasks', add_task.form(preset={{'user': ann}}), mine, {parts})",
    )
    page.run_all()
    output = page.output(2)
    form, rows = output.locator(".livedb-form"), output.locator(".livedb").first.locator("tbody tr")
    expect(rows).to_have_count(3)
    output.scroll_into_view_if_needed()
    heading = output.get_by_text("Tasks", exact=True).bounding_box()
    assert heading["y"] + heading["height"] <= form.bounding_box()["y"]  # on a line of its own
    page.screenshot(f"dashboard-{len(parts)}")
    form.get_by_label("title").fill("by the form")
    form.get_by_label("title").press("Enter")
    expect(rows).to_have_count(4)
    page.execute("picker.label = 'Bob'")
    expect(rows).to_have_count(0)
    page.change_theme("dark")
    page.execute("db['tasks'].insert({'title': 'for Bob', 'user': picker.value})")
    expect(rows).to_have_count(1)
    page.screenshot(f"dashboard-dark-{len(parts)}")
