"""Handles, forms and widgets laid out as a page: `livedb.dashboard(a, b, columns=2)`.

What is livedb's own is laid out as HTML, in which each part finds its place as it does in an output
of its own (`widgets/src/view/places.ts`): so a page that is opened without its kernel shows the
last rows. Widgets of others need a view that the host draws; with one of them the whole page is an
ipywidgets grid, and the HTML is what is left of it without a kernel.
"""

from __future__ import annotations

from html import escape
from typing import Any

import ipywidgets

from livedb.errors import FunctionTypeError
from livedb.notebook.cells import cut, visible
from livedb.notebook.forms import Form
from livedb.notebook.handles import Handle
from livedb.notebook.hosts import draws_only_widget_views

GAP_PX = 12

PART_PX_MIN = 260
"""Width below which a part gets a line of its own, however many columns were asked for."""


_WHOLE_LINE = "auto / 1 / auto / -1"
"""Not `grid_column`: ipywidgets' page sets that first, and clears it when it sets the area."""


class Dashboard:
    """A page of live results, forms and widgets; the last line of a cell shows it."""

    def __init__(self, parts: tuple[Any, ...], columns: int) -> None:
        for part in parts:
            if not isinstance(part, str | Handle | Form | ipywidgets.Widget):
                raise FunctionTypeError(
                    f"A dashboard has live handles, forms, widgets and texts as headings, not "
                    f"{part!r:.200}; follow a table or a query with .live()"
                )
        if type(columns) is not int or columns < 1:
            raise FunctionTypeError(f"columns is how many there are at most, and is {columns!r}")
        self._parts = parts
        self._columns = columns
        self._grid: Any = None

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        if draws_only_widget_views() or not all(map(_is_ours, self._parts)):
            drawn = self._made_grid()._repr_mimebundle_(**kwargs)  # as IPython does
            data, metadata = drawn if isinstance(drawn, tuple) else (drawn or {}, {})
        data["text/plain"] = repr(self)
        data["text/html"] = self._html()
        return data, metadata

    def _html(self) -> str:
        inside = "".join(map(_html_of, self._parts))
        style = f"display:grid;gap:{GAP_PX}px;align-items:start;grid-template-columns:"
        return f'<div style="{style}{self._template()}">{inside}</div>'

    def _template(self) -> str:
        """At most so many columns, fewer where they would be too narrow."""
        gaps = (self._columns - 1) * GAP_PX
        least = f"max({PART_PX_MIN}px, (100% - {gaps}px) / {self._columns})"
        return f"repeat(auto-fit, minmax(min(100%, {least}), 1fr))"

    def _made_grid(self) -> Any:
        if self._grid is None:
            self._grid = ipywidgets.GridBox(
                [_widget_of(part) for part in self._parts],
                layout=ipywidgets.Layout(
                    grid_template_columns=self._template(),
                    grid_gap=f"{GAP_PX}px",
                    align_items="flex-start",
                    width="100%",
                ),
            )
        return self._grid

    def __repr__(self) -> str:
        return f"<dashboard of {', '.join(map(_title_of, self._parts)) or 'nothing'}>"


def dashboard(*parts: Any, columns: int = 2) -> Dashboard:
    """Lay live handles, forms and widgets out as a page.

        livedb.dashboard("Tasks", add_task.form(), open_tasks.live(user=picker), picker)

    Args:
        parts: live handles, forms, ipywidgets and anywidgets; a text is a heading.
        columns: how many there are at most; on a narrow page there are fewer.

    Raises:
        FunctionTypeError: a part is something else.
    """
    return Dashboard(parts, columns)


def _is_ours(part: Any) -> bool:
    return isinstance(part, str | Handle | Form)


def _title_of(part: Any) -> str:
    if isinstance(part, str):
        return repr(cut(visible(part), 60))
    title = part.title if isinstance(part, Handle | Form) else type(part).__name__
    return cut(visible(title), 60)


def _html_of(part: Any) -> str:
    if isinstance(part, str):
        text = escape(visible(cut(part, 200)))
        return f'<h3 style="grid-column:1/-1;margin:8px 0 0;font-size:16px">{text}</h3>'
    if not isinstance(part, Handle | Form):
        return f"<div>{escape(_title_of(part))}</div>"
    bundle = part._repr_mimebundle_()  # as IPython does
    data: dict[str, str] = bundle[0] if isinstance(bundle, tuple) else bundle or {}
    return f'<div style="min-width:0">{data["text/html"]}</div>'


def _widget_of(part: Any) -> Any:
    if isinstance(part, str):
        heading = (
            f'<div style="font-size:16px;font-weight:600">{escape(visible(cut(part, 200)))}</div>'
        )
        return ipywidgets.HTML(heading, layout=ipywidgets.Layout(grid_area=_WHOLE_LINE))
    return part.widget if isinstance(part, Handle) else part
