"""What a reader selects on a page, read by the code of other cells."""

from __future__ import annotations

import gc
import threading

import pytest

import livedb


@pytest.fixture
def db():
    with livedb.open() as opened:
        yield opened


@pytest.fixture
def cities(db):
    for name in ("Oslo", "Lima", "Kyoto"):
        db["cities"].insert({"name": name})
    return db["cities"].live()


def ids_of(handle):
    return [row["_id"] for row in handle]


def test_a_frame_has_the_selected_rows_as_they_are_now(db, cities):
    oslo, _lima, kyoto = ids_of(cities)
    cities.select([kyoto, oslo], None)
    assert cities.selection.df["name"].tolist() == ["Oslo", "Kyoto"]
    db["cities"].patch(oslo, {"name": "Bergen"})
    assert cities.selection.df["name"].tolist() == ["Bergen", "Kyoto"]
    db["cities"].delete(kyoto)
    assert cities.selection.to_arrow()["name"].to_pylist() == ["Bergen"]
    assert (len(cities.selection), cities.selection.keys) == (1, [kyoto, oslo])


def test_nothing_is_selected_at_first_and_the_columns_are_there(cities):
    assert cities.selection.keys == []
    assert list(cities.selection.df.columns) == list(cities.df.columns)
    assert repr(cities.selection) == "<0 selected rows>"


def test_the_keys_are_a_trait_and_a_live_argument(db, cities):
    @db.query
    def names(ctx, chosen: list[str]) -> list[str]:
        return [ctx.db.get("cities", each)["name"] for each in chosen]

    followed = names.live(chosen=(cities.selection, "keys"))
    heard = []
    cities.selection.observe(lambda change: heard.append(change["new"]), "keys")
    chosen = ids_of(cities)[:2]
    cities.select(chosen, None)
    cities.select(chosen, None)
    assert heard == [chosen]
    assert followed.value == ["Oslo", "Lima"]


def test_the_active_cell_is_a_trait_and_its_value_is_the_one_of_now(db, cities):
    oslo = cities.to_arrow()["_id"][0].as_py()
    heard = []
    cities.selection.observe(lambda change: heard.append(change["new"]), "cell")
    assert (cities.selection.cell, cities.selection.value) == (None, None)
    cities.select([oslo], (oslo, "name"))
    assert (cities.selection.cell, cities.selection.value) == ((oslo, "name"), "Oslo")
    db["cities"].patch(oslo, {"name": "Bergen"})
    assert cities.selection.value == "Bergen"
    cities.select([oslo], (oslo, "no such column"))
    assert cities.selection.value is None
    db["cities"].delete(oslo)
    cities.select([oslo], (oslo, "name"))
    assert cities.selection.value is None
    assert heard == [(oslo, "name"), (oslo, "no such column"), (oslo, "name")]


def test_a_selection_is_known_at_once_on_another_thread(cities):
    [first, *_] = ids_of(cities)
    thread = threading.Thread(target=cities.select, args=([first], None))
    thread.start()
    thread.join()
    assert cities.selection.keys == [first]


def test_a_selection_keeps_no_handle_alive(db):
    selection = db["cities"].live().selection
    gc.collect()
    with pytest.raises(ReferenceError, match="is gone"):
        selection.to_arrow()


def test_a_result_without_ids_has_no_rows_to_select(db, cities):
    counted = db.sql("select count(*) as n from cities").live()
    counted.select(["0"], None)
    assert counted.selection.to_arrow().num_rows == 0
