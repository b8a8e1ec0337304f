"""Notebooks: what a reader waits for in front of a page, in a real JupyterLab and Chromium.

Notebooks with kernels of their own are pages of one browser. What a page shows is seen by an
observer of its document; the page and the kernels read the clock of one machine. The peers'
notebooks run in an environment of their own (`page_peers.py`).
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.figure import Figure, Reading, Target
from bench.measure import Bench
from bench.page_peers import KERNEL, PEERS, PagePeer, add_kernel, make_environment

if TYPE_CHECKING:
    # Loaded where it is used: what handles notebooks takes two seconds, of every group's run.
    from playwright.sync_api import Browser

    from tests.browser.lab import Lab, NotebookPage

GROUP = "pages"

PAUSE_S = 0.1
"""Between two changes, so that each is shown before the next."""

PATIENCE_MS = 30_000
"""How long a peer may take to show rows."""

BEGIN = """\
import time
import anywidget
import ipywidgets
import livedb

db = livedb.open("pages.livedb")
"""

DEFINE = """\
@db.table("cells")
class Cell:
    text: str
    n: int

@db.query
def cells(ctx: livedb.QueryContext) -> list[Cell]:
    return ctx.db.query(Cell).collect()

@db.mutation
def write(ctx: livedb.MutationContext, cell: livedb.Id[Cell], text: str) -> None:
    ctx.db.patch(cell, {"text": text})

@db.mutation
def add(ctx: livedb.MutationContext, count: int) -> list[livedb.Id[Cell]]:
    return [ctx.db.insert("cells", {"text": "", "n": n}) for n in range(count)]

cell = add(count=10)[2]
service = db.serve()
"""

FOLLOW = "followed = db.function('cells').live()\nfollowed"

BARE = """\
class Bare(anywidget.AnyWidget):
    _esm = '''export default {
        render({model, el}) { model.on("msg:custom", (text) => { el.textContent = text; }); }
    }'''

bare = Bare()
label = ipywidgets.Label()
display(bare, label)
"""

CHANGE = """\
begun = {{kind: [] for kind in {kinds}}}
for number in range({count}):
    for kind, write_text in zip(begun, {writes}):
        begun[kind].append(time.time_ns() / 1e6)
        write_text(f"{{kind}}-{{number}}-")
        time.sleep({pause})
"""
"""Changes of several kinds take turns, so that all meet the same weather."""

STAGES = """\
notified, sent = [], []
table = followed.widget
notify, send_batch = table.notify, table.send_batch

def note_notified():
    notified.append(time.time_ns() / 1e6)
    notify()

def note_sent(content, buffers):
    send_batch(content, buffers)
    if any("views" in entry for entry in content["entries"]):
        sent.append(time.time_ns() / 1e6)

table.notify, table.send_batch = note_notified, note_sent
"""
"""Notes when a commit's result is there, and when its message has left."""

ROWS = (
    "select n, n * 7919 % 1000003 as h, 'name ' || (n * 104729 % 1000003) as s, "
    "cast(n * 31 % 9973 as double) / 7 as f from range(5, {count} + 5) t(n)"
)
"""The rows that every tool shows, as SQL."""

WATCH = """() => {
    const seen = window.seen = {};
    window.arrived = [];
    const now = () => performance.timeOrigin + performance.now();
    const note = (text) => {
        for (const [mark] of text.matchAll(/[a-z]+-[0-9]+-/g)) seen[mark] ??= now();
    };
    const observer = new MutationObserver((records) => {
        for (const {type, target, addedNodes} of records) {
            if (type === 'characterData') note(target.data);
            else for (const node of addedNodes) note(node.textContent ?? '');
        }
    });
    const watch = (root) => {
        observer.observe(root, {subtree: true, childList: true, characterData: true});
        for (const {shadowRoot} of root.querySelectorAll('*')) if (shadowRoot) watch(shadowRoot);
    };
    watch(document.body);
    const {kernel} = window.jupyterapp.shell.currentWidget.sessionContext.session;
    kernel.anyMessage.connect((_, {direction, msg}) => {
        const entries = msg.content?.data?.content?.entries ?? [];
        if (direction === 'recv' && entries.some((each) => each.views)) window.arrived.push(now());
    });
}"""
"""Notes when marks come to the page, and messages of rows; looks only at what has changed."""

LONG_TASKS = """() => {
    window.longTasks = [];
    new PerformanceObserver((list) => {
        for (const {duration} of list.getEntries()) window.longTasks.push(duration);
    }).observe({type: 'longtask'});
}"""

SHOW_ROWS = """([cell, patienceMs]) => new Promise((resolve) => {
    const {content} = window.jupyterapp.shell.currentWidget;
    const isFilled = (td) => td.textContent !== '';
    const isLive = (td) => isFilled(td) && td.closest('.livedb-stored') === null;
    const hasRows = (root, are) => [...root.querySelectorAll('tbody td')].some(are)
        || [...root.querySelectorAll('*')].some((each) => within(each.shadowRoot, are));
    const within = (shadow, are) => shadow !== null && hasRows(shadow, are);
    let seenMs = null;
    content.activeCellIndex = cell;
    content.deselectAll();
    window.longTasks.length = 0;
    const began = performance.now();
    const look = () => {
        const area = content.widgets[cell].node.querySelector('.jp-OutputArea');
        const tookMs = performance.now() - began;
        if (area !== null && seenMs === null && hasRows(area, isFilled)) seenMs = tookMs;
        if (area !== null && hasRows(area, isLive)) resolve([seenMs, tookMs]);
        else if (tookMs > patienceMs) resolve(null);
        else requestAnimationFrame(look);
    };
    window.jupyterapp.commands.execute('notebook:run-cell');
    requestAnimationFrame(look);
})"""
"""From running a cell to the first frame with rows of it, and to the first where a widget has drawn
them: livedb's output is rows already, which the live table takes the place of."""

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

PEER_ARRANGE = """() => new Promise((resolve) => {
    const within = (root) => root.querySelector('tbody td')
        ?? [...root.querySelectorAll('*')].map((each) => each.shadowRoot && within(each.shadowRoot))
            .find(Boolean);
    const grid = within(document.querySelector('.jp-Notebook')).closest('table');
    const shown = () => [...grid.querySelectorAll('tbody tr')].slice(0, 1)
        .map((row) => row.textContent).join();
    const before = shown();
    const began = performance.now();
    const look = () => {
        if (shown() !== before) resolve(performance.now() - began);
        else if (performance.now() - began > 30000) resolve(null);
        else requestAnimationFrame(look);
    };
    %s;
    requestAnimationFrame(look);
})"""

SCROLL = """async () => {
    const scroller = document.querySelector('.livedb-scroller');
    for (let step = 1; step <= 100; step += 1) {
        scroller.scrollTop = (scroller.scrollHeight - scroller.clientHeight) * step / 100;
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}"""


class Shown(NamedTuple):
    """How long changes took until a page showed them."""

    name: str
    taken_ms: list[float]
    message_bytes: float
    """The median of the messages that brought them."""

    @property
    def reading(self) -> Reading:
        return Reading(name=self.name, value=statistics.median(self.taken_ms) * 1e3)


class Pages:
    """Opens notebooks in fresh pages, counting what their sockets bring."""

    def __init__(self, lab: Lab, browser: Browser) -> None:
        self._lab = lab
        self._browser = browser
        self._opened: list[Any] = []
        self.frames: list[bytes] = []

    def open(self, name: str, *cells: str, kernel: str = "python3") -> NotebookPage:
        from tests.browser.lab import NotebookPage, Notebooks

        fresh = NotebookPage(self._browser, self._lab)
        fresh.page.on("websocket", self._listen)
        notebooks = Notebooks(self._lab, self._browser, [fresh])
        self._opened.append(notebooks)
        page = notebooks.open(name, *cells, kernel=kernel)
        page.page.evaluate(LONG_TASKS)
        return page

    def close(self) -> None:
        for each in self._opened:
            each.close()
        self._opened.clear()

    def _listen(self, socket: Any) -> None:
        socket.on("framereceived", self._keep)

    def _keep(self, payload: str | bytes) -> None:
        if isinstance(payload, bytes) and b'"comm_msg"' in payload:
            self.frames.append(payload)

    def changed(self, page: NotebookPage, count: int, **writes: str) -> dict[str, list[float]]:
        """Make changes in the kernel of `page`, by a function of a text for each kind.

        Returns when each began, in milliseconds of the clock.
        """
        self.frames.clear()
        calls = f"({', '.join(writes.values())},)"
        page.execute(CHANGE.format(kinds=list(writes), writes=calls, count=count, pause=PAUSE_S))
        page.page.wait_for_timeout(2_000)  # the last one is on its way
        found: dict[str, list[float]] = _value(page, "begun")
        return found

    def shown(self, page: NotebookPage, name: str, kind: str, begun: list[float]) -> Shown:
        sizes = [len(each) for each in self.frames if b"%s-" % kind.encode() in each]
        size = statistics.median(sizes) if sizes else 0.0
        return Shown(name, _shown_ms(page, kind, begun), size)


def run(bench: Bench) -> Iterator[Figure]:
    from tests.browser.chromium import find_chromium, launched
    from tests.browser.lab import running_lab

    home = bench.fresh("jupyter")
    home.mkdir()
    if problem := make_environment():
        print(f"perspective, itables and quak cannot be installed: {problem}")
    else:
        add_kernel(home / "data")
    peers = () if problem else PEERS
    with running_lab(home) as lab, launched(find_chromium()) as browser:
        pages = Pages(lab, browser)
        for part in (_followed, _first_rows, _arranged, _held_out):
            yield from part(bench, pages, peers)
            pages.close()


# -- a commit until a page shows it ----------------------------------------------------------------


def _followed(bench: Bench, pages: Pages, peers: tuple[PagePeer, ...]) -> Iterator[Figure]:
    count = bench.pick(200, 10)
    commit = "lambda text: write(cell=cell, text=text)"
    ana = pages.open("ana", BEGIN + DEFINE, FOLLOW, BARE)
    _watch(ana)
    pages.changed(ana, count, warmup=commit)
    ana.execute(STAGES)
    writes = {
        "commit": commit,
        "bare": "bare.send",
        "label": "lambda text: label.set_trait('value', text)",
    }
    ana.page.evaluate("() => { window.arrived = []; }")
    begun = pages.changed(ana, count, **writes)
    names = ("livedb", "bare comm message", "ipywidgets Label")
    own, bare, label = (
        pages.shown(ana, name, kind, begun[kind]) for name, kind in zip(names, writes, strict=True)
    )
    stages = _stages(ana, begun["commit"], own.taken_ms)
    ben = pages.open("ben", BEGIN, FOLLOW)
    _watch(ben)
    other_ms = _shown_ms(ben, "other", pages.changed(ana, count, other=commit)["other"])
    pages.close()
    others = [label, *(each for peer in peers for each in _peer_changed(pages, peer, count // 4))]
    for what, taken, bound in (
        ("another kernel's notebook", other_ms, {50: 25, 90: None}),
        ("the same notebook", own.taken_ms, {50: 10, 90: 20}),
    ):
        for percentile, bound_ms in bound.items():
            is_median = percentile == 50
            split = f": {stages}" if is_median and taken is own.taken_ms and stages else ""
            yield Figure(
                group=GROUP,
                what=f"commit in a cell until the page of {what} shows it, p{percentile}{split}",
                unit="us",
                value=_percentile(taken, percentile) * 1e3,
                floor=Reading(name=bare.name, value=_percentile(bare.taken_ms, percentile) * 1e3),
                peers=tuple(
                    Reading(name=each.name, value=_percentile(each.taken_ms, percentile) * 1e3)
                    for each in others
                ),
                ratio_to=bare.name,
                target=None if bound_ms is None else _at_most_ms(bound_ms),
            )
    yield Figure(
        group=GROUP,
        what="what a page receives for a commit of one row of 10, with Jupyter's envelope",
        unit="B",
        value=own.message_bytes,
        floor=Reading(name=bare.name, value=bare.message_bytes),
        peers=tuple(
            Reading(name=each.name, value=each.message_bytes)
            for each in others
            if each.message_bytes
        ),
        ratio_to=bare.name,
        target=Target(of="value", comparison="<=", bound=1024, text="<= 1 KB"),
    )


def _watch(page: NotebookPage) -> None:
    page.run_all()
    page.output(1).locator("[role=grid] tbody tr").first.wait_for(state="attached")
    page.page.evaluate(WATCH)


def _stages(page: NotebookPage, begun: list[float], taken_ms: list[float]) -> str:
    """Where the time of a median commit goes; "" when some travelled together."""
    shown = [begin + taken for begin, taken in zip(begun, taken_ms, strict=True)]
    moments = (
        begun,
        _value(page, "notified"),
        _value(page, "sent"),
        page.page.evaluate("() => window.arrived"),
        shown,
    )
    if {len(each) for each in moments} != {len(begun)}:
        return ""
    names = ("commit and result", "message made", "on its way", "decoded and drawn")
    parts = [
        statistics.median(after - before for before, after in zip(*pair, strict=True))
        for pair in itertools.pairwise(moments)
    ]
    return ", ".join(f"{name} {part:.1f} ms" for name, part in zip(names, parts, strict=True))


def _peer_changed(pages: Pages, peer: PagePeer, count: int) -> Iterator[Shown]:
    if peer.show_few is None:
        return
    begin = (
        "import time, pyarrow\nfew = {'n': list(range(10)), 'text': ['none'] * 10}\n" + peer.begin
    )
    page = pages.open(peer.name, begin, peer.show_few, kernel=KERNEL)
    page.execute(begin)
    if page.page.evaluate(SHOW_ROWS, [1, PATIENCE_MS]) is None:
        return print(f"{peer.name} showed no rows")
    page.page.wait_for_timeout(2_000)
    page.page.evaluate(WATCH)
    begun = pages.changed(page, count, peer=peer.write)["peer"]
    try:
        yield pages.shown(page, peer.name, "peer", begun)
    except KeyError:
        print(f"{peer.name} did not show the last change")
    pages.close()


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
    return taken[::-1]


# -- the first rows, and rows in another order -----------------------------------------------------


def _first_rows(bench: Bench, pages: Pages, peers: tuple[PagePeer, ...]) -> Iterator[Figure]:
    """From running the cell that shows rows which the kernel has already."""
    for count in (100_000, 1_000_000, 10_000_000):
        size = bench.pick(count, count // 100)
        ask = f"big = db.sql({ROWS.format(count=size)!r}).live()"
        took = _show(pages, f"first-{count}", BEGIN + ask, "big")
        assert took is not None, "livedb showed no rows"
        asked = f"import duckdb\nrows = duckdb.sql({ROWS.format(count=size)!r}).to_arrow_table()\n"
        others = {
            peer.name: _show(pages, peer.name, asked + peer.begin, peer.show, kernel=KERNEL)
            for peer in peers
            if count in peer.counts
        }
        for name in (name for name, other in others.items() if other is None):
            print(f"{name} showed no rows of {size:,} within {PATIENCE_MS / 1000:.0f} s")
        found = {name: other for name, other in others.items() if other is not None}
        for at, what, bound_ms in (
            (0, f"first rows of {size:,} on the page", 300),
            (1, f"first rows of {size:,} in a widget", None),
            (2, f"longest task of the page meanwhile, {size:,} rows", 50),
        ):
            yield Figure(
                group=GROUP,
                what=what,
                unit="us",
                value=took[at] * 1e3,
                peers=tuple(
                    Reading(name=name, value=other[at] * 1e3) for name, other in found.items()
                ),
                target=None if bound_ms is None else _at_most_ms(bound_ms),
            )


def _show(
    pages: Pages, name: str, begin: str, show: str, *, kernel: str = "python3"
) -> list[float] | None:
    """Milliseconds until rows are there, until a widget has them, and of the longest task.

    None if they are not in time.
    """
    page = pages.open(name, begin, show, kernel=kernel)
    page.execute(begin)
    page.page.wait_for_timeout(2_000)
    took: list[float] | None = page.page.evaluate(SHOW_ROWS, [1, PATIENCE_MS])
    page.page.wait_for_timeout(2_000)
    longest = _longest_task_ms(page)
    pages.close()
    return None if took is None else [*took, longest]


def _arranged(bench: Bench, pages: Pages, peers: tuple[PagePeer, ...]) -> Iterator[Figure]:
    """How long a reader of a large table waits for another order."""
    count = bench.pick(1_000_000, 10_000)
    rows = ROWS.format(count=count)
    page = pages.open("big", BEGIN, f"big = db.sql({rows!r}).live()\nbig")
    page.run_all()
    page.output(1).locator("table[role=grid] tbody tr").first.wait_for()
    page.output(1).locator(".livedb-tools input:enabled").first.wait_for(state="attached")
    page.page.wait_for_timeout(3_000)  # what the heads of columns tell is counted

    def median_us(what: str, wanted: list[int | str]) -> float:
        taken: list[float] = [page.page.evaluate(ARRANGE, [what, each]) for each in wanted]
        return statistics.median(taken) * 1e3

    sorted_us = median_us("sort", [1, 1, 2, 2, 3, 3])
    # Each of another row: until the first one is another.
    names = [f"name {n * 104729 % 1000003}" for n in (4_321, 77, 7_654, 123)]
    searched_us = median_us("search", [*names])
    pages.close()
    sorts = (_peer_sorted(pages, peer, rows) for peer in peers if peer.sort)
    for what, value, readings in (
        (
            f"a head is pressed until {count:,} rows are sorted on the page",
            sorted_us,
            tuple(filter(None, sorts)),
        ),
        (f"a search in 4 columns of {count:,} rows, 120 ms of them for more keys", searched_us, ()),
    ):
        yield Figure(
            group=GROUP, what=what, unit="us", value=value, peers=readings, target=_at_most_ms(300)
        )


def _peer_sorted(pages: Pages, peer: PagePeer, rows: str) -> Reading | None:
    begin = f"import duckdb\nrows = duckdb.sql({rows!r}).to_arrow_table()\n{peer.begin}"
    page = pages.open(f"{peer.name}-sorted", begin, peer.show, kernel=KERNEL)
    page.execute(begin)
    if page.page.evaluate(SHOW_ROWS, [1, PATIENCE_MS]) is None:
        return print(f"{peer.name} showed no rows to sort")
    page.page.wait_for_timeout(2_000)
    took: float | None = page.page.evaluate(PEER_ARRANGE % peer.sort)
    pages.close()
    if took is None:
        return print(f"{peer.name} did not sort within 30 s")
    return Reading(name=peer.name, value=took * 1e3)


# -- many commits ----------------------------------------------------------------------------------

BUSY = """\
import threading

def commit_many(count, rate):
    begin = time.monotonic()
    for number in range(count):
        write(cell=cell, text=f"many-{number}-")
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
    ended.append(time.time_ns() / 1e6)

ended = []
add(count=%d)
"""


def _held_out(bench: Bench, pages: Pages, _peers: tuple[PagePeer, ...]) -> Iterator[Figure]:
    """A page under many commits: its longest task while it scrolls, and whether it ends right."""
    size, count = bench.pick(8_000, 1_000), bench.pick(3_000, 100)
    page = pages.open("busy", BEGIN.replace("pages.", "busy.") + DEFINE + BUSY % size, FOLLOW)
    page.run_all()
    page.output(1).locator("[role=grid] tbody tr").first.wait_for(state="attached")
    page.page.wait_for_timeout(3_000)
    page.page.evaluate(WATCH)
    page.page.evaluate("() => { window.longTasks.length = 0; }")
    page.execute("threading.Thread(target=commit_many, args=(1_200, 200)).start()")
    page.page.evaluate(SCROLL)
    page.page.evaluate("() => { document.querySelector('.livedb-scroller').scrollTop = 0; }")
    page.wait_in_kernel("len(ended) == 1")
    longest_ms = _longest_task_ms(page)
    page.page.wait_for_timeout(1_000)
    page.execute(f"commit_many({count}, 1_000)")
    page.page.wait_for_function(f"() => 'many-{count - 1}-' in window.seen")
    lag_ms = (
        page.page.evaluate(f"() => window.seen['many-{count - 1}-']") - _value(page, "ended")[1]
    )
    yield Figure(
        group=GROUP,
        what=f"longest task of the page while {size:,} rows scroll and 200 commits a second come",
        unit="us",
        value=longest_ms * 1e3,
        target=_at_most_ms(50),
    )
    yield Figure(
        group=GROUP,
        what=f"{count:,} commits, at most 1,000 a second, from the last one until it is shown",
        unit="us",
        value=max(lag_ms, 0.0) * 1e3,
        target=Target(of="value", comparison="<=", bound=1e6, text="never lost"),
    )


def _longest_task_ms(page: NotebookPage) -> float:
    """Browsers tell of tasks from 50 ms on; without one, that is what the longest took at most."""
    return max(page.page.evaluate("() => window.longTasks"), default=50.0)


def _at_most_ms(bound_ms: float) -> Target:
    return Target(of="value", comparison="<=", bound=bound_ms * 1e3, text=f"<= {bound_ms} ms")


def _value(page: NotebookPage, name: str) -> Any:
    """What a name is in the kernel."""
    return json.loads(page.value(f"__import__('json').dumps({name})").strip("'"))


def _percentile(values: list[float], percentile: int) -> float:
    return statistics.quantiles(values, n=100)[percentile - 1]
