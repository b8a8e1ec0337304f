"""The page of `examples/tasks` in Chromium: Convex's own React hooks on a served workspace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.examples.serving import TasksService
from tests.examples.web import served_pages

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_url(tmp_path_factory):
    """The page, built and served by a plain file server."""
    with served_pages(tmp_path_factory.mktemp("tasks")) as url:
        yield url


@pytest.fixture
def service(tmp_path):
    service = TasksService(tmp_path)
    yield service
    service.go_on()
    service.kill()


class TasksPage:
    """The page as one person has it open."""

    def __init__(self, browser, url, service, name):
        context = browser.new_context(viewport={"width": 760, "height": 620})
        self.page = context.new_page()
        self.errors = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{url}?service={service.url}&name={name}")
        self.tasks = self.page.locator("li")
        self.summary = self.page.locator(".summary")
        self.connection = self.page.locator(".connection")
        expect(self.connection).to_have_text("live")

    def add(self, title):
        self.page.get_by_label("New task").fill(title)
        self.page.get_by_role("button", name="Add").click()

    def tick(self, title):
        """Change whether a task is done."""
        self.page.get_by_role("checkbox", name=title).click()

    def screenshot(self, name):
        if folder := os.environ.get("BROWSER_SCREENSHOTS"):
            for scheme in ("light", "dark"):
                self.page.emulate_media(color_scheme=scheme)
                self.page.screenshot(path=Path(folder) / f"{name}-{scheme}.png")


@pytest.fixture
def open_page(browser, page_url, service):
    """`open_page("Ana")`: the page in a browser of its own."""
    opened = []

    def open_page(name):
        opened.append(TasksPage(browser, page_url, service, name))
        return opened[-1]

    yield open_page
    for each in opened:
        each.page.context.close()
        assert each.errors == []


def test_what_one_page_adds_and_ticks_the_other_shows(open_page):
    ana, ben = open_page("Ana"), open_page("Ben")
    expect(ben.page.locator(".empty")).to_have_text("Nothing to do. Add the first task.")
    ben.screenshot("tasks-empty")
    ana.add("Water the plants")
    expect(ben.tasks).to_have_text(["Water the plantsAna"])
    ben.add("Write the minutes")
    expect(ana.tasks).to_have_text(["Write the minutesBen", "Water the plantsAna"])
    ben.tick("Water the plants")
    expect(ana.tasks.nth(1)).to_have_attribute("data-done", "true")
    expect(ana.summary).to_have_text("1 open · 1 done")
    ana.screenshot("tasks")


def test_a_change_is_shown_before_the_service_has_answered(open_page, service):
    ana, ben = open_page("Ana"), open_page("Ben")
    ana.add("Water the plants")
    expect(ben.tasks).to_have_text(["Water the plantsAna"])
    service.pause()
    ana.add("Write the minutes")
    ana.tick("Water the plants")
    expect(ana.tasks.first).to_have_attribute("data-sending", "true")
    expect(ana.tasks.nth(1)).to_have_attribute("data-done", "true")
    expect(ana.summary).to_have_text("1 open · 1 done")
    expect(ben.tasks).to_have_text(["Water the plantsAna"])
    ana.screenshot("tasks-sending")
    service.go_on()
    for page in (ana, ben):
        expect(page.tasks).to_have_text(["Write the minutesAna", "Water the plantsAna"])
        expect(page.tasks.nth(1)).to_have_attribute("data-done", "true")
    expect(ana.tasks.first).to_have_attribute("data-sending", "false")


def test_a_refused_change_is_taken_back_and_says_why(open_page):
    ana = open_page("Ana")
    ana.add("x" * 201)
    expect(ana.page.get_by_role("alert")).to_have_text("A title has 1 to 200 characters")
    expect(ana.tasks).to_have_count(0)


def test_the_page_survives_its_service(open_page, service):
    ana, ben = open_page("Ana"), open_page("Ben")
    ana.add("Before")
    expect(ben.tasks).to_have_text(["BeforeAna"])
    service.kill()
    expect(ana.connection).to_have_text("reconnecting")
    ana.add("Meanwhile")
    expect(ana.tasks).to_have_text(["Meanwhilesending", "BeforeAna"])
    ana.screenshot("tasks-reconnecting")
    service.start()
    expect(ana.connection).to_have_text("live")
    for page in (ana, ben):
        expect(page.tasks).to_have_text(["MeanwhileAna", "BeforeAna"])
    ben.add("After")
    expect(ana.tasks).to_have_text(["AfterBen", "MeanwhileAna", "BeforeAna"])


def test_pages_of_the_feed_join(open_page):
    ana, ben = open_page("Ana"), open_page("Ben")
    titles = [f"Task {number}" for number in range(20)]
    for title in titles:
        ana.add(title)
    newest = [f"{title}Ana" for title in reversed(titles)]
    expect(ana.summary).to_have_text("20 open · 0 done")
    # Hers grew from an empty page; a page that is opened now begins with the newest eight.
    expect(ana.tasks).to_have_text(newest)
    late = open_page("Lea")
    expect(late.tasks).to_have_text(newest[:8])
    more = late.page.get_by_role("button", name="Show more")
    more.click()
    expect(late.tasks).to_have_text(newest[:16])
    more.click()
    expect(late.tasks).to_have_text(newest)
    expect(more).to_be_hidden()
    ben.tick("Task 0")
    expect(late.tasks.last).to_have_attribute("data-done", "true")


def test_a_saved_function_changes_what_the_pages_show(open_page, service):
    ana, ben = open_page("Ana"), open_page("Ben")
    ana.add("First")
    ana.add("Second")
    expect(ben.tasks).to_have_text(["SecondAna", "FirstAna"])
    module = service.functions / "tasks.py"
    text = module.read_text()
    module.write_text(text.replace('.order("desc").paginate', '.order("asc").paginate'))
    for page in (ana, ben):
        expect(page.tasks).to_have_text(["FirstAna", "SecondAna"])
    # What cannot be loaded changes nothing.
    module.write_text("def")
    ana.add("Third")
    expect(ben.tasks).to_have_text(["FirstAna", "SecondAna", "ThirdAna"])
