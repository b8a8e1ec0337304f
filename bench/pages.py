"""Notebooks: from a commit in a cell to what a page shows, in a real JupyterLab and Chromium.

Two notebooks with two kernels are two pages of one browser. What a page shows is seen by an
observer of its document; the page and the kernels read the clock of one machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench.figure import Figure, Reading, Target
from bench.measure import Bench
from tests.browser.chromium import find_chromium, launched
from tests.browser.lab import NotebookPage, Notebooks, running_lab

GROUP = "pages"
PAUSE_MS = 100
"""Between two steps, so that each is shown before the next."""

BEGIN = """\
import time
import ipywidgets
import livedb

db = livedb.open("pages.livedb")
"""

DEFINE = """\
@db.table("cells")
class Cell:
    text: str

@db.query
def cells(ctx: livedb.QueryContext) -> list[Cell]:
    return ctx.db.query(Cell).collect()

@db.mutation
def write(ctx: livedb.MutationContext, cell: livedb.Id[Cell], text: str) -> None:
    ctx.db.patch(cell, {"text": text})

@db.mutation
def add(ctx: livedb.MutationContext) -> livedb.Id[Cell]:
    return ctx.db.insert("cells", {"text": ""})

cell = add()
service = db.serve()
"""

MEASURE = """\
begun = []

def take(step):
    begun.append(time.time_ns() / 1e6)
    step()

label = ipywidgets.Label()
label
"""

BIG = """\
big = db.sql(
    "select n, n * 7919 % 1000003 as h, 'name ' || (n * 104729 % 1000003) as s, "
    "cast(n * 31 % 9973 as double) / 7 as f from range(5, {count} + 5) t(n)"
).live()
big
"""

ARRANGE = """([what, at]) => new Promise((resolve) => {
    const grid = document.querySelector('table[role=grid]');
    const table = grid.closest('.livedb');
    const shown = () => grid.querySelector('tbody tr')?.textContent ?? '';
    const before = shown();
    const began = performance.now();
    const observer = new MutationObserver(() => {
        if (shown() === before || shown() === '') return;
        observer.disconnect();
        requestAnimationFrame(() => resolve(performance.now() - began));
    });
    observer.observe(table, {subtree: true, childList: true, characterData: true});
    if (what === 'sort') return grid.querySelectorAll('th')[at].click();
    const search = table.querySelector('input[type=search]');
    search.value = String(at);
    search.dispatchEvent(new Event('input', {bubbles: true}));
})"""
"""Until the first row is another one; a search waits 120 ms first, for its reader to type on."""

FOLLOW = "followed = db.function('cells').live()\nfollowed"

WATCH = """() => {
    const seen = window.seen = {};
    const look = () => {
        const found = document.body.innerText.matchAll(/[a-z]+-[0-9]+-/g);
        for (const [mark] of found) seen[mark] ??= performance.timeOrigin + performance.now();
    };
    const parts = {subtree: true, childList: true, characterData: true, attributes: true};
    new MutationObserver(look).observe(document.body, parts);
}"""


def run(bench: Bench) -> Iterator[Figure]:
    count = bench.pick(200, 10)
    home = bench.fresh("jupyter")
    home.mkdir()
    with running_lab(home) as lab, launched(find_chromium()) as browser:
        notebooks = Notebooks(lab, browser)
        ana = notebooks.open("ana", BEGIN + DEFINE, FOLLOW, MEASURE)
        ana.run_all()
        ben = notebooks.open("ben", BEGIN, FOLLOW)
        ben.run_all()
        for page in (ana, ben):
            page.output(1).locator("tbody tr").first.wait_for(state="attached")
            page.page.evaluate(WATCH)
        begun = _begun(ana, "write(cell=cell, text={mark!r})", "commit", count)
        labelled = _begun(ana, "label.set_trait('value', {mark!r})", "label", count)
        own_ms, other_ms = (_shown_ms(page, "commit", begun) for page in (ana, ben))
        label_us = statistics.median(_shown_ms(ana, "label", labelled)) * 1e3
        notebooks.close()
        yield from _arranged(bench, Notebooks(lab, browser))
    for what, taken, bound in (
        ("commit in a cell until the page of another kernel's notebook shows it", other_ms, 25),
        ("commit in a cell until the page of the same notebook shows it", own_ms, 10),
    ):
        yield Figure(
            group=GROUP,
            what=f"{what} (p90 {_p90(taken):.1f} ms)",
            unit="us",
            value=statistics.median(taken) * 1e3,
            peers=(Reading(name="ipywidgets Label, same notebook", value=label_us),),
            target=Target(
                of="value", comparison="<=", bound=bound * 1e3, text=f"<= {bound} ms p50"
            ),
        )


def _arranged(bench: Bench, notebooks: Notebooks) -> Iterator[Figure]:
    """How long a reader of a large table waits for another order."""
    count = bench.pick(1_000_000, 10_000)
    page = notebooks.open("big", BEGIN.replace("pages.", "big."), BIG.format(count=count))
    page.run_all()
    page.output(1).locator("table[role=grid] tbody tr").first.wait_for()

    def median_us(what: str, wanted: list[int | str]) -> float:
        taken: list[float] = [page.page.evaluate(ARRANGE, [what, each]) for each in wanted]
        return statistics.median(taken) * 1e3

    sorted_us = median_us("sort", [1, 1, 2, 2, 3, 3])
    # Each of another row: until the first one is another.
    names = [f"name {n * 104729 % 1000003}" for n in (4_321, 77, 7_654, 123)]
    searched_us = median_us("search", [*names])
    notebooks.close()
    for what, value in (
        (f"a head is pressed until {count:,} rows are sorted on the page", sorted_us),
        (f"a search in 4 columns of {count:,} rows, 120 ms of them for more keys", searched_us),
    ):
        yield Figure(
            group=GROUP,
            what=what,
            unit="us",
            value=value,
            target=Target(of="value", comparison="<=", bound=300e3, text="<= 300 ms"),
        )


def _begun(page: NotebookPage, step: str, kind: str, count: int) -> list[float]:
    """When each step began, in milliseconds of the clock; each is run as a cell would be."""
    page.execute("begun.clear()")
    for number in range(count):
        mark = f"{kind}-{number}-"
        page.execute(f"take(lambda: {step.format(mark=mark)})")
        page.page.wait_for_timeout(PAUSE_MS)
    page.page.wait_for_timeout(2_000)  # the last one is on its way
    return [float(each) for each in page.value("begun").strip("[]").split(",")]


def _shown_ms(page: NotebookPage, kind: str, begun: list[float]) -> list[float]:
    """From each step to the moment at which the page showed it, or a later one in its place.

    A page that never showed the last one raises.
    """
    seen = page.page.evaluate("() => window.seen")
    shown = seen[f"{kind}-{len(begun) - 1}-"]
    taken: list[float] = []
    for number in reversed(range(len(begun))):
        shown = min(shown, seen.get(f"{kind}-{number}-", shown))
        taken.append(shown - begun[number])
    return taken


def _p90(values: list[float]) -> float:
    return statistics.quantiles(values, n=10)[8]
