"""What livedb's widgets have in common: how pages get their module, and that nothing of them stays.

anywidget's front end imports `_esm` anew for each model, and a page never lets go of a module that
it has imported: 0.4 MB for each time that a cell with a table ran. So `_esm` is a few lines that
take the widget's own module from a trait, and import it once on a page
(`widgets/src/entry/widget.ts`).
In the kernel anywidget keeps each widget whose `_esm` or `_css` is a path, to tell it when the file
changes; here they are texts, read when a widget is made. Whoever works on a bundle sets
`ANYWIDGET_HMR=1` (`make watch`): then the widgets on screen follow its file.
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from livedb.notebook.hosts import let_pages_choose_the_subshell

STATIC = Path(__file__).parent / "static"

RELOAD_S = 0.5
"""Seconds between two looks for bundles that were built anew."""


class PageWidget(anywidget.AnyWidget):
    """A widget that pages draw by a bundle of `widgets/src/entry`."""

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)

    address = traitlets.Unicode().tag(sync=True)
    """The name by which pages know it, and the id of its comm."""

    module = traitlets.Unicode().tag(sync=True)
    """The bundle; it goes with the model, unlike what a page has imported."""

    def __init__(self, bundle: str, *, address: str, **traits: Any) -> None:
        super().__init__(
            model_id=address,
            address=address,
            _esm=_text_of("widget.js"),
            _css=_text_of(f"{bundle}.css"),
            module=_text_of(f"{bundle}.js"),
            **traits,
        )
        let_pages_choose_the_subshell(self.comm)
        if os.environ.get("ANYWIDGET_HMR") == "1":
            _follow_files(self, bundle)

    def reload(self, bundle: str) -> None:
        """Have pages draw it anew, by the bundle as it is by now."""
        self._css = _text_of(f"{bundle}.css")
        self.module = _text_of(f"{bundle}.js")
        self._esm = (
            f"{_text_of('widget.js')}\n// {hash(self.module)}"  # what makes pages begin anew
        )

    def close(self) -> None:
        """End it here and on pages, and its layout, a widget that ipywidgets would leave."""
        super().close()
        self.layout.close()


def _text_of(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


_followers: weakref.WeakKeyDictionary[PageWidget, str] = weakref.WeakKeyDictionary()
"""Widgets that follow the files of their bundles, which they name."""


def _follow_files(widget: PageWidget, bundle: str) -> None:
    is_first = not _followers
    _followers[widget] = bundle
    if is_first:
        threading.Thread(target=_reload_changed, name="livedb-reload", daemon=True).start()


def _reload_changed() -> None:
    """The thread that looks for bundles that were built anew, as long as a widget is there."""
    seen = _times()
    pause = threading.Event()
    while _followers:
        pause.wait(RELOAD_S)
        now = _times()
        for widget, bundle in list(_followers.items()):
            if now.get(bundle) != seen.get(bundle) and widget.comm is not None:
                widget.reload(bundle)
        seen = now


def _times() -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in STATIC.glob("*.js")}
