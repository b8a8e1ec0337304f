"""Search and vector indexes as they are declared: features.md 5 "Full text" and "Vector"."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

import livedb
from livedb.errors import SchemaDefinitionError
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import Validator

NOTE = livedb.v.object({"body": livedb.v.string(), "meta": livedb.v.object({"at": livedb.v.any()})})


def text(field="body", name="by_text", **options):
    return replace(livedb.search_index(field, **options), name=name)


def vector(field="body", name="by_v", dimensions=8, **options):
    made = livedb.vector_index(field, dimensions=dimensions, **options)
    return replace(made, name=name)


def table(*indexes, document: Validator | None = NOTE):
    return TableDefinition(
        "notes",
        document,
        search_indexes=tuple(i for i in indexes if not hasattr(i, "dimensions")),
        vector_indexes=tuple(i for i in indexes if hasattr(i, "dimensions")),
    )


def refusal(make):
    with pytest.raises(SchemaDefinitionError) as caught:
        make()
    return caught.value.code


@pytest.mark.parametrize("dimensions", [2, 384, 4096])
def test_a_vector_has_2_to_4096_dimensions(dimensions):
    assert vector(dimensions=dimensions).dimensions == dimensions


@pytest.mark.parametrize("dimensions", [1, 0, -3, 4097, 3.0, "8", None, True])
def test_other_dimensions_are_refused(dimensions):
    assert refusal(lambda: vector(dimensions=dimensions)) == "InvalidVectorDimensions"


def test_an_index_has_at_most_16_filter_fields():
    fields = [f"f{n}" for n in range(17)]
    assert table(text(filters=fields[:16]), vector(filters=fields[:16]), document=None)
    for made in (text(filters=fields), vector(filters=fields)):
        assert refusal(lambda made=made: table(made, document=None)) == "IndexTooManyFields"


def test_a_table_has_at_most_four_of_each_kind():
    texts = [text(name=f"t{n}") for n in range(5)]
    vectors = [vector(name=f"v{n}") for n in range(5)]
    assert table(*texts[:4], *vectors[:4])
    assert refusal(lambda: table(*texts)) == "TooManyIndexes"
    assert refusal(lambda: table(*vectors)) == "TooManyIndexes"


@pytest.mark.parametrize(
    "indexes,code",
    [
        ((text(name="by_id"),), "IndexNameReserved"),
        ((vector(name="_v"),), "IndexNameReserved"),
        ((text(name="a b"),), "InvalidIndexName"),
        ((text(name=""),), "InvalidIndexName"),
        ((text(name="same"), vector(name="same")), "IndexNamesNotUnique"),
        ((text("nothing"),), "InvalidIndexField"),
        ((vector("body.deep"),), "InvalidIndexField"),
        ((text(filters=["nothing"]),), "InvalidIndexField"),
        ((text("_id"),), "IndexFieldsContainId"),
        ((text(filters=["_creationTime"]),), "IndexFieldsContainCreationTime"),
        ((text(filters=["body", "body"]),), "FieldsNotUniqueWithinIndex"),
        ((text(""),), "InvalidIndexField"),
    ],
)
def test_an_index_that_contradicts_the_rules_is_refused(indexes, code):
    assert refusal(lambda: table(*indexes)) == code


def test_an_index_shares_its_name_with_no_other_kind():
    def make():
        return TableDefinition(
            "notes",
            NOTE,
            livedb.define_table(NOTE).index("same", ["body"]).build("notes").indexes,
            search_indexes=(text(name="same"),),
        )

    assert refusal(make) == "IndexNamesNotUnique"


@pytest.mark.parametrize("wrong", [7, None, ["body"]])
def test_a_field_is_one_name(wrong):
    assert refusal(lambda: livedb.search_index(wrong)) == "InvalidIndexField"
    assert refusal(lambda: livedb.vector_index(wrong, dimensions=2)) == "InvalidIndexField"
    assert refusal(lambda: livedb.search_index("body", filters="author")) == "InvalidIndexField"


def test_json_is_convex_s_and_comes_back():
    made = table(text("meta.at", filters=["body"]), vector("meta.at", filters=["body"]))
    data = made.to_json()
    assert data["searchIndexes"] == [
        {"indexDescriptor": "by_text", "searchField": "meta.at", "filterFields": ["body"]}
    ]
    assert data["vectorIndexes"] == [
        {
            "indexDescriptor": "by_v", "vectorField": "meta.at", "dimensions": 8,
            "filterFields": ["body"],
        }
    ]  # fmt: skip
    assert TableDefinition.from_json(data) == made
    assert pickle.loads(pickle.dumps(made)) == made  # our own
    assert made != table(text("meta.at"), vector("meta.at", filters=["body"]))


def test_a_table_is_shown_as_it_is_written():
    made = livedb.define_table({"body": livedb.v.string()})
    made = made.search_index("by_text", "body", filters=["body"])
    made = made.vector_index("by_v", "body", dimensions=3)
    shown = repr(made.build("notes"))
    assert '.search_index("by_text", "body", filters=["body"])' in shown
    assert '.vector_index("by_v", "body", dimensions=3)' in shown


def test_a_schema_that_is_not_validated_keeps_its_search_indexes():
    made = livedb.define_table({"body": livedb.v.string()}).search_index("by_text", "body")
    [given] = livedb.define_schema({"notes": made}, schema_validation=False)
    assert (given.document, len(given.search_indexes)) == (None, 1)
