"""`db` on a page of JupyterLab: it follows, and its lines open."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.table.test_live_table import wait_for_desk

pytestmark = pytest.mark.browser

SETUP = """\
import livedb
db = livedb.open()

@db.table("tasks", indexes={"by_done": ["done"]})
class Task:
    title: str
    done: bool = False

@db.query
def open_tasks(ctx):
    return ctx.db.query("tasks").with_index("by_done", done=False).collect()

@db.mutation
def add(ctx, title: str):
    "Adds a task."
    return ctx.db.insert("tasks", {"title": title})

@db.mutation
def finish(ctx, title: str):
    for task in ctx.db.query("tasks").filter(lambda q: q.eq(q.field("title"), title)):
        ctx.db.patch(task["_id"], {"done": True})

@db.query
def broken(ctx, text: str):
    raise ValueError("<img src=x onerror=alert(1)>")

@db.query
def called(ctx, title: str):
    return ctx.db.query("tasks").filter(lambda q: q.eq(q.field("title"), title)).collect()

first = add("sweep")
add("<b>mop</b>")
todo = open_tasks.live()
try:
    broken("x")
except ValueError:
    pass
"""


def opened(open_notebook):
    page = open_notebook("explorer", SETUP, "db")
    page.run_all()
    explorer = page.output(1).locator(".livedb-explorer")
    expect(explorer.locator("tbody tr").first).to_be_visible()
    explorer.locator(".livedb-section").last.scroll_into_view_if_needed()  # else it does not look
    return page, explorer


def section(explorer, heading):
    return explorer.locator(".livedb-section").filter(
        has=explorer.page.locator("thead").get_by_text(heading, exact=True)
    )


def line(explorer, heading, text):
    return section(explorer, heading).locator("tbody > tr").filter(has_text=text).first


def test_a_workspace_is_looked_at_as_it_changes(open_notebook):
    page, explorer = opened(open_notebook)
    tasks = line(explorer, "table", "tasks")
    expect(tasks).to_contain_text("title: str, done: bool")
    expect(tasks.locator("td").first).to_have_text("2")
    expect(line(explorer, "live result", "open_tasks")).to_contain_text("tasks by_done")
    expect(line(explorer, "function", "broken")).to_contain_text("ValueError: <img src=x")
    page.execute("add('dust')")
    expect(tasks.locator("td").first).to_have_text("3")
    commits = section(explorer, "commit").locator("tbody > tr")
    expect(commits.first).to_contain_text("1 document of tasks")
    expect(line(explorer, "function", "add(")).to_contain_text("Adds a task.")
    page.execute("db['notes'].insert({'a': 1})")
    expect(line(explorer, "table", "notes")).to_be_visible()
    for theme in ("light", "dark"):
        page.change_theme(theme)
        page.screenshot(f"explorer-{theme}")


def test_its_lines_open_and_close(open_notebook):
    page, explorer = opened(open_notebook)
    before = page.value("len(livedb.notebook.handles.open_handles())")
    line(explorer, "table", "tasks").get_by_role("button").click()
    table = section(explorer, "table").locator(".livedb")
    expect(table.locator("tbody tr")).to_have_count(2)
    expect(table).to_contain_text("<b>mop</b>")

    line(explorer, "function", "add(").get_by_role("button").click()
    form = section(explorer, "function").locator(".livedb-form")
    form.locator("input").fill("dust")
    form.get_by_role("button", name="add", exact=True).click()
    expect(form.locator(".livedb-status")).to_contain_text("done")
    expect(table.locator("tbody tr")).to_have_count(3)

    page.execute("finish('sweep')")
    commits = section(explorer, "commit")
    expect(commits.locator("tbody > tr").first).to_contain_text("finish")
    commits.get_by_role("button").first.click()
    expect(commits.locator("dl")).to_contain_text("done")
    expect(commits.locator("del")).to_have_text("False")
    expect(commits.locator("ins")).to_have_text("True")

    line(explorer, "live result", "open_tasks").get_by_role("button").click()
    live = section(explorer, "live result").locator(".livedb tbody tr")
    expect(live).to_have_count(2)
    page.screenshot("explorer-open")

    # What is open stays as it is while the lines around it change.
    table.locator("tbody tr").nth(1).locator("td").nth(1).click()
    page.execute("add('wash')")
    expect(live).to_have_count(3)
    expect(table.locator("tbody tr").nth(1)).to_have_attribute("aria-selected", "true")

    for heading, text in (("table", "tasks"), ("function", "add("), ("live result", "open_tasks")):
        line(explorer, heading, text).get_by_role("button").first.click()
    expect(table).to_have_count(0)
    page.wait_in_kernel(f"len(livedb.notebook.handles.open_handles()) == {before}")


def test_a_query_that_needs_arguments_is_followed_once_it_has_them(open_notebook):
    page, explorer = opened(open_notebook)
    before = page.value("len(livedb.notebook.handles.open_handles())")
    line(explorer, "function", "called(").get_by_role("button").click()
    form = section(explorer, "function").locator(".livedb-form")
    go = form.get_by_role("button", name="called", exact=True)
    go.click()
    expect(form.get_by_text("This is needed.")).to_be_visible()
    form.get_by_label("title").first.fill("sweep")
    go.click()
    table = form.locator(".livedb")
    expect(table.locator("tbody tr")).to_have_count(1)
    expect(form.get_by_label("title").first).to_have_value("sweep")
    page.execute("add('sweep')")
    expect(table.locator("tbody tr")).to_have_count(2)
    wait_for_desk(form)
    go.scroll_into_view_if_needed()
    for theme in ("light", "dark"):
        page.change_theme(theme)
        page.screenshot(f"explorer-arguments-{theme}")
    form.get_by_label("title").first.fill("nothing like it")
    go.click()
    expect(form.locator(".livedb-empty")).to_be_visible()
    expect(table).to_have_count(1)
    line(explorer, "function", "called(").get_by_role("button").first.click()
    page.wait_in_kernel(f"len(livedb.notebook.handles.open_handles()) == {before}")


def test_it_says_when_its_kernel_is_gone(open_notebook):
    page, explorer = opened(open_notebook)
    line(explorer, "table", "tasks").get_by_role("button").click()
    expect(section(explorer, "table").locator(".livedb tbody tr")).to_have_count(2)
    page.restart_kernel()
    advice = explorer.locator("> .livedb-advice")
    expect(advice).to_contain_text("Run the cell again")
    expect(explorer.locator(".livedb-aside")).to_contain_text("· stale")
    box, whole = advice.bounding_box(), explorer.bounding_box()
    assert box["width"] == pytest.approx(whole["width"], abs=3)
    assert advice.evaluate("each => getComputedStyle(each).textIndent") == "0px"
    expect(line(explorer, "function", "add(").get_by_role("button")).to_be_disabled()
    line(explorer, "table", "tasks").get_by_role("button").first.click()
    expect(line(explorer, "table", "tasks").get_by_role("button")).to_be_disabled()
    page.screenshot("explorer-stale")
