"""A widget as an argument: the handle goes where the widget goes, on every backend."""

from __future__ import annotations

import gc
import threading
import weakref

import ipywidgets
import pytest
import traitlets

from livedb.errors import ArgumentValidationError, FunctionTypeError, HandleError
from tests.live.shop import prices
from tests.waiting import until


class Slider(traitlets.HasTraits):
    """What of a widget is needed: a trait that tells of its changes."""

    value = traitlets.Any()
    other = traitlets.Any()


@pytest.fixture
def items(shop):
    shop["items"].insert([{"kind": "a", "price": 1}, {"kind": "b", "price": 2}])
    return shop


def test_a_handle_read_after_a_widget_has_changed_shows_the_new_argument(items):
    slider = Slider(value="a")
    handle = items.of_kind.live(kind=slider)
    assert (prices(handle), handle.args, handle.title) == ([1], {"kind": "a"}, "of_kind(kind='a')")
    slider.value = "b"
    assert (prices(handle), handle.args, handle.title) == ([2], {"kind": "b"}, "of_kind(kind='b')")
    items["items"].insert({"kind": "b", "price": 3})
    assert prices(handle) == [2, 3]


def test_followers_hear_of_a_changed_argument_without_reading(items):
    slider = Slider(value="a")
    handle = items.of_kind.live(slider)
    seen = []
    handle.observe(lambda each: seen.append(prices(each)))
    slider.value = "b"
    until(lambda: seen and seen[-1] == [2])
    items["items"].insert({"kind": "b", "price": 3})
    until(lambda: seen[-1] == [2, 3])


def test_what_changes_for_an_earlier_argument_is_told_to_nobody(items):
    slider = Slider(value="a")
    handle = items.of_kind.live(slider)
    slider.value = "b"
    assert prices(handle) == [2]
    seen = []
    handle.observe(lambda change: seen.append(change["new"]), names="value")
    items["items"].insert({"kind": "a", "price": 9})
    items["items"].insert({"kind": "b", "price": 3})
    until(lambda: seen)
    assert [[item["price"] for item in value] for value in seen] == [[2, 3]]


def test_any_trait_and_any_ipywidget_may_be_an_argument(items):
    slider = Slider(other="a")
    by_trait = items.of_kind.live(kind=(slider, "other"))
    chosen = ipywidgets.Dropdown(options=[("first", "a"), ("second", "b")])
    by_widget = items.of_kind.live(kind=chosen)
    assert (prices(by_trait), prices(by_widget)) == ([1], [1])
    slider.other = "b"
    chosen.label = "second"
    assert (prices(by_trait), prices(by_widget)) == ([2], [2])


def test_a_value_that_does_not_fit_is_an_error_until_the_next_one(items):
    slider = Slider(value=None)
    handle = items.of_kind.live(kind=slider)
    assert isinstance(handle.error, ArgumentValidationError)
    with pytest.raises(ArgumentValidationError, match=r"\.kind"):
        handle.value  # noqa: B018 - reading is what raises
    slider.value = "a"
    assert (prices(handle), handle.error) == ([1], None)
    slider.value = 7
    assert isinstance(handle.error, ArgumentValidationError)
    with pytest.raises(ArgumentValidationError):
        handle.df  # noqa: B018 - rows of another argument are no rows of this one
    slider.value = "b"
    assert (prices(handle), handle.error) == ([2], None)


def test_a_misspelt_argument_or_trait_is_refused_at_once(items):
    with pytest.raises(ArgumentValidationError, match="kidn"):
        items.of_kind.live(kidn=Slider(value="a"))
    with pytest.raises(FunctionTypeError, match="no trait 'vlaue'"):
        items.of_kind.live(kind=(Slider(), "vlaue"))


def test_parameters_of_sql_may_be_widgets(items):
    slider = Slider(value=2)
    named = items.sql("select price from items where price >= $low", {"low": slider})
    placed = items.sql("select price from items where price >= ?", [slider])
    handles = [named.live(), placed.live()]
    assert [each.to_arrow()["price"].to_pylist() for each in (named, *handles)] == [[2]] * 3
    slider.value = 1
    for handle in handles:
        assert sorted(handle.to_arrow()["price"].to_pylist()) == [1, 2]
    assert [each.args for each in handles] == [{"low": 1}, {"1": 1}]


def test_a_handle_may_be_an_argument_of_another(items):
    @items.query
    def best(ctx) -> str:
        return max(ctx.db.query("items"), key=lambda item: item.price).kind

    kind = best.live()
    handle = items.of_kind.live(kind=kind)
    assert prices(handle) == [2]
    items["items"].insert({"kind": "a", "price": 7})
    assert prices(handle) == [1, 7]


@pytest.mark.local("its query waits for an event of the test")
def test_the_newest_value_wins_while_a_query_runs(memory):
    gate, begun, runs = threading.Event(), threading.Event(), []

    @memory.query
    def slow(ctx, n: int) -> int:
        runs.append(n)
        if n == 1:
            begun.set()
            gate.wait(30)
        return n

    slider = Slider(value=0)
    handle = slow.live(n=slider)
    seen = []
    handle.observe(lambda change: seen.append(change["new"]), names="value")
    for n in range(1, 50):
        slider.value = n  # which returns although the query waits
        begun.wait(30)
    gate.set()
    until(lambda: handle.value == 49)
    until(lambda: seen and seen[-1] == 49)
    assert seen == sorted(seen)
    assert runs == [0, 1, 49]


def test_a_closed_handle_observes_no_widget_and_a_dropped_one_neither(items):
    slider = Slider(value="a")
    closed = items.of_kind.live(slider)
    closed.close()
    slider.value = "b"
    assert prices(closed) == [1]
    dropped = items.of_kind.live(slider)
    gone = weakref.ref(dropped)
    del dropped
    gc.collect()
    assert gone() is None
    assert not slider._trait_notifiers.get("value", {}).get("change")


def test_inside_a_snapshot_a_handle_stays_with_its_argument(items):
    slider = Slider(value="a")
    handle = items.of_kind.live(slider)
    with items.snapshot():
        slider.value = "b"
        assert prices(handle) == [1]
    assert prices(handle) == [2]


@pytest.mark.local("a handle does not travel")
def test_a_live_argument_is_not_read_inside_a_function(items):
    handle = items.of_kind.live(Slider(value="a"))

    @items.query
    def reads(ctx) -> int:
        return len(handle.value)

    with pytest.raises(HandleError):
        reads()


def test_traits_of_a_handle_link_to_widgets(items):
    handle = items.total.live()
    label, seen = ipywidgets.IntText(), ipywidgets.IntText()
    link = traitlets.dlink((handle, "value"), (label, "value"))
    ipywidgets.dlink((handle, "version"), (seen, "value"))
    assert label.value == 3
    items["items"].insert({"kind": "a", "price": 4})
    until(lambda: label.value == 7)
    link.unlink()
