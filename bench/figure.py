"""A figure: what livedb took, what the machine allows, what others take, and the target."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

_SCALES = {
    "us": [(1e6, "s"), (1e3, "ms"), (1, "us")],
    "/s": [(1, "/s")],
    "B": [(1 << 20, "MiB"), (1, "B")],
    "B/s": [(1e9, "GB/s"), (1e6, "MB/s"), (1, "B/s")],
}
_COMPARISONS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt}

Unit = Literal["us", "/s", "B", "B/s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Somebody else's figure for the same work, in the figure's unit."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What DESIGN 10 asks for: a bound on the value, or on its ratio to the floor or a peer."""

    of: Literal["value", "ratio"]
    comparison: Literal["<=", ">=", "<"]
    bound: float
    text: str

    def is_met(self, value: float, ratio: float | None) -> bool:
        measured = value if self.of == "value" else ratio
        return measured is not None and _COMPARISONS[self.comparison](measured, self.bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. `ratio_to` names the reading that livedb's value is divided by."""

    group: str
    what: str
    unit: Unit
    value: float
    floor: Reading | None = None
    peers: tuple[Reading, ...] = ()
    ratio_to: str | None = None
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        readings = [*self.peers, *([self.floor] if self.floor else [])]
        named = [reading.value for reading in readings if reading.name == self.ratio_to]
        return self.value / named[0] if named and named[0] else None

    @property
    def is_met(self) -> bool | None:
        return self.target.is_met(self.value, self.ratio) if self.target else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio, "is_met": self.is_met}


def as_markdown(figures: Iterable[Figure]) -> str:
    """The table, one line per figure."""
    head = (
        "| what | livedb | floor | peers | ratio | target | met |\n|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(_line(figure) for figure in figures)


def _line(figure: Figure) -> str:
    met = {True: "yes", False: "**no**", None: ""}[figure.is_met]
    ratio = f"{figure.ratio:.2f} x {figure.ratio_to}" if figure.ratio is not None else ""
    cells = (
        figure.what,
        f"**{quantity(figure.value, figure.unit)}**",
        _reading(figure.floor, figure.unit) if figure.floor else "",
        "; ".join(_reading(peer, figure.unit) for peer in figure.peers),
        ratio,
        figure.target.text if figure.target else "",
        met,
    )
    return "| " + " | ".join(cells) + " |\n"


def _reading(reading: Reading, unit: Unit) -> str:
    return f"{reading.name} {quantity(reading.value, unit)}"


def quantity(value: float, unit: Unit) -> str:
    """A value in the largest unit that leaves it above one: `1.24 ms`, `17,300 /s`."""
    scales = _SCALES[unit]
    divisor, name = next(((d, n) for d, n in scales if value >= d), scales[-1])
    scaled = value / divisor
    digits = 0 if scaled >= 100 or unit == "/s" else 1 if scaled >= 10 else 2
    return f"{scaled:,.{digits}f} {name}"
