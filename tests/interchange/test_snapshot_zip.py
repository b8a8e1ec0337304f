"""Snapshot zips: what goes out comes back, and what no snapshot is changes nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
import struct
import zipfile
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import livedb
from livedb import Int64, define_schema, define_table, transfer, v
from livedb.clock import SystemClock
from livedb.errors import DamagedError, LivedbError, LoadError, SchemaEnforcementError
from livedb.functions.system_functions import UPDATE_ENVIRONMENT
from livedb.ids import IdFactory
from livedb.interchange import snapshot_export, snapshot_members
from livedb.interchange.snapshot_zip import SnapshotZip
from livedb.testing import strategies
from tests.thorough import examples

IDS = IdFactory(SystemClock())


@pytest.fixture
def export(tmp_path):
    def write(db, **options):
        path = tmp_path / "out.zip"
        transfer.export_snapshot(db.backend.workspace, path, overwrite=True, **options)
        return path

    return write


@pytest.fixture
def archive(tmp_path):
    """Writes a zip from texts by name."""

    def write(members, name="in.zip"):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            for member, text in members.items():
                made.writestr(member, text)
        return path

    return write


def load(db, path, mode="new"):
    return transfer.import_snapshot(db.backend.workspace, path, mode=mode)


def documents(db, table):
    return {row["_id"]: row for row in db[table].collect()}


def member(path, name):
    with zipfile.ZipFile(path) as opened:
        return [json.loads(line) for line in opened.read(name).splitlines()]


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


UNIFORM = '"uniform"\n'


# -- there and back --------------------------------------------------------------------------------

ODD = {
    "big": Int64(2**60),
    "bytes": b"\x00\xff",
    "nan": float("nan"),
    "inf": float("-inf"),
    "zero": -0.0,
    "half": 0.5,
    "nothing": None,
    "text": 'ä"\n\u2028',
    "yes": True,
    "list": [Int64(1), 1.5, {"deep": [b"x", float("inf")]}],
}


def test_documents_come_back_with_their_ids_and_times(db, export, tmp_path):
    ids = db["a"].insert([ODD, {"n": 1.0}, {}])
    db["b"].insert({"a": ids[0]})
    written = export(db)
    with livedb.open(tmp_path / "other") as other:
        done = load(other, written)
        assert done.rows == {"a": 3, "b": 1}
        for table in ("a", "b"):
            assert repr(documents(other, table)) == repr(documents(db, table))
        assert other.number == done.number == 1
        assert other.sql("select count(*) n from a").to_arrow()["n"].to_pylist() == [3]


def test_the_members_are_those_of_convex(memory, export):
    one = memory["a"].insert({"i": 1, "big": Int64(5), "b": b"x", "nan": float("nan"), "z": -0.0})
    path = export(memory)
    with zipfile.ZipFile(path) as opened:
        assert opened.namelist() == [
            "README.md",
            "_tables/documents.jsonl",
            "a/documents.jsonl",
            "a/generated_schema.jsonl",
        ]
        (line,) = opened.read("a/documents.jsonl").splitlines()
    assert member(path, "_tables/documents.jsonl") == [{"name": "a", "id": 10_001}]
    assert member(path, "a/generated_schema.jsonl") == ["uniform"]
    time = memory["a"].get(one)["_creationTime"]
    assert line.decode() == (
        '{"i":1.0,"big":5,"b":{"$bytes":"eA=="},"nan":{"$float":"AAAAAAAA+H8="},"z":-0.0,'
        f'"_creationTime":{time},"_id":"{one}"}}'
    )


def test_a_schema_gives_ints_and_datetimes_back(db, export):
    fields = {
        "n": v.integer(),
        "at": v.optional(v.datetime()),
        "more": v.optional(v.array(v.object({"at": v.datetime(), "n": v.integer()}))),
        "either": v.optional(v.union(v.integer(), v.string())),
    }
    db.push(define_schema({"a": define_table(fields)}))
    moment = datetime(2026, 3, 4, 5, 6, 7, 891_011, tzinfo=UTC)
    db["a"].insert(
        [{"n": 7, "at": moment, "more": [{"at": moment, "n": 3}], "either": 4}, {"n": 8}]
    )
    before = documents(db, "a")
    assert load(db, export(db), mode="replace").rows == {"a": 2}
    assert repr(documents(db, "a")) == repr(before)


@settings(max_examples=examples(12))
@given(st.lists(strategies.documents(), min_size=1, max_size=5))
def test_every_document_comes_back_but_for_ints_and_datetimes(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("zips") / "x.zip"
    with livedb.open() as db:
        db["a"].insert(rows)
        before = documents(db, "a")
        transfer.export_snapshot(db.backend.workspace, path)
        load(db, path, mode="replace")
        after = documents(db, "a")
    assert after.keys() == before.keys()
    for each, document in before.items():
        assert repr(as_convex(after[each])) == repr(as_convex(document))


def as_convex(value):
    if type(value) is int:
        return float(value)
    if isinstance(value, datetime):
        return livedb.values.milliseconds_of(value)
    if isinstance(value, dict):
        return {name: as_convex(each) for name, each in sorted(value.items())}
    return [as_convex(each) for each in value] if isinstance(value, list) else value


def test_an_export_is_of_one_commit_in_pages(db, export, monkeypatch):
    monkeypatch.setattr(snapshot_export, "_PAGE_ROWS", 7)
    ids = db["a"].insert([{"n": n} for n in range(40)])
    for each in ids[::3]:
        db["a"].delete(each)
    db["a"].patch(ids[1], {"n": 100})
    told = []
    path = export(db, progress=lambda table, rows: told.append((table, rows)))
    found = member(path, "a/documents.jsonl")
    assert {row["_id"]: row["n"] for row in found} == {
        each: row["n"] for each, row in documents(db, "a").items()
    }
    assert told[-1] == ("a", len(found))


def test_an_empty_table_with_a_schema_is_restored(memory, export):
    @memory.table("notes")
    class Note:
        text: str

    path = export(memory)
    assert member(path, "notes/documents.jsonl") == []
    transfer.import_snapshot(memory.backend.workspace, path, mode="replace")
    assert memory["notes"].count() == 0
    with pytest.raises(livedb.SchemaEnforcementError, match="no column 'text'"):
        memory.load("notes", [{}])


def test_only_the_tables_asked_for_are_written(memory, export):
    for name in ("a", "b", "empty"):
        memory[name].insert({})
    memory["empty"].delete(next(iter(documents(memory, "empty"))))
    path = export(memory, tables=["b", "empty"])
    assert [row["name"] for row in member(path, "_tables/documents.jsonl")] == ["b", "empty"]
    assert member(path, "empty/documents.jsonl") == []
    with pytest.raises(LoadError, match="no table 'gone'"):
        export(memory, tables=["gone"])


# -- modes -----------------------------------------------------------------------------------------


def test_modes_say_what_becomes_of_what_is_there(db, export):
    db["a"].insert({"n": 1.0})
    path = export(db)
    old = documents(db, "a")
    db["a"].insert({"n": 2.0})
    db["b"].insert({"n": 3.0})
    with pytest.raises(LoadError, match="'a' has documents already; append to it, or replace it"):
        load(db, path)
    with pytest.raises(LoadError, match="has already"):
        load(db, path, mode="append")
    assert len(documents(db, "a")) == 2

    load(db, path, mode="replace")
    assert documents(db, "a") == old
    assert db["b"].count() == 1

    db["a"].delete(next(iter(old)))
    db["a"].insert({"n": 2.0})
    load(db, path, mode="append")
    assert sorted(row["n"] for row in documents(db, "a").values()) == [1, 2]

    load(db, path, mode="replace-all")
    assert documents(db, "a") == old
    assert db["b"].count() == 0


def test_tables_take_the_numbers_of_the_zip(db, export, tmp_path):
    with livedb.open(tmp_path / "source") as source:
        source["x"].insert({})
        user = source["users"].insert({"name": "Ada"})
        source["tasks"].insert({"user": user})
        path = export(source, tables=["users", "tasks"])
    schema = {
        "tasks": define_table({"user": v.id("users")}),
        "users": define_table({"name": v.string()}),
    }
    db.push(define_schema(schema))
    load(db, path)
    assert db.backend.catalog().number_of("users") == 10_002
    (task,) = documents(db, "tasks").values()
    assert db["users"].get(task["user"])["name"] == "Ada"


def test_a_document_that_does_not_fit_leaves_everything_as_it_was(db, archive):
    db.push(define_schema({"b": define_table({"n": v.number()})}))
    db["a"].insert({"n": 1})
    number = db.number
    path = archive({"a/documents.jsonl": lines({"n": 5}), "b/documents.jsonl": lines({"n": "x"})})
    for mode in ("replace", "replace-all"):
        with pytest.raises(SchemaEnforcementError):
            load(db, path, mode=mode)
    assert (db.number, [row["n"] for row in documents(db, "a").values()]) == (number, [1])


def test_documents_without_ids_get_new_ones(db, archive):
    path = archive({"a/documents.jsonl": "\ufeff" + lines({"n": 1}, {"n": 2.5}) + "\n \n"})
    load(db, path)
    assert sorted(row["n"] for row in documents(db, "a").values()) == [1.0, 2.5]


def test_a_zip_packed_again_by_hand_has_one_folder_around_it(db, archive):
    members = {"x/_tables/documents.jsonl": "", "x/a/documents.jsonl": lines({}), "x/README.md": ""}
    assert load(db, archive(members)).rows == {"a": 1}


def file_of(content, **fields):
    digest = hashlib.sha256(content).hexdigest()
    known = {"_id": IDS.new(7), "_creationTime": 1.0, "sha256": digest, "size": float(len(content))}
    return {**known, **fields}


def files(db):
    """The document of each file and its content, as text by id."""
    found = {}
    for each in db.files:
        with db.files.open(each["_id"]) as opened:
            found[each["_id"]] = (dict(each), opened.read().decode())
    return found


def contents(db):
    return list(db.backend.workspace.files.files.iterdir())


def test_files_go_out_and_come_in_with_their_ids(db, export, tmp_path):
    first = db.files.put(b"picture", content_type="image/png")
    db.files.put(b"")
    db.files.delete(db.files.put(b"deleted"))

    @db.mutation
    def save(ctx, file: str):
        ctx.db.insert("a", {"file": file})

    save(first)
    path = export(db)
    with livedb.open(tmp_path / "other") as other:
        other.files.delete(other.files.put(b"gone before"))
        assert load(other, path).rows == {"a": 1, "_storage": 2}
        assert files(other) == files(db)
        [row] = other["a"].collect()
        assert row["file"] == first
        assert other.backend.workspace.file_storage.collect() <= 1
        assert len(contents(other)) == 2
        other.files.put(b"a third")
        assert len(files(other)) == 3
        with pytest.raises(LoadError, match="documents already"):
            load(other, path)
        assert load(other, path, "replace").rows == {"a": 1, "_storage": 2}
        assert files(other) == files(db)
        other.backend.workspace.file_storage.collect()
        assert len(contents(other)) == 2


def test_files_are_exported_with_all_tables_or_when_asked_for(db, export):
    db.files.put(b"picture")

    @db.mutation
    def add(ctx):
        ctx.db.insert("a", {})

    add()

    def has_files(**options):
        with zipfile.ZipFile(export(db, **options)) as opened:
            return any(name.startswith("_storage/") for name in opened.namelist())

    assert has_files()
    assert not has_files(has_files=False)
    assert not has_files(tables=["a"])
    assert has_files(tables=["a"], has_files=True)


def test_no_other_table_of_livedbs_own_is_exported(db, export):
    db.files.put(b"picture")
    workspace = db.backend.workspace
    change = {"changes": [{"name": "SECRET", "value": "hidden"}]}
    workspace.runner.call_alone("mutation", UPDATE_ENVIRONMENT, change)
    with zipfile.ZipFile(export(db)) as opened:
        folders = {name.partition("/")[0] for name in opened.namelist()}
    assert folders == {"README.md", "_tables", "_storage"}


def test_a_file_whose_content_is_gone_ends_the_export_with_its_id(db, export):
    file = db.files.put(b"picture")
    [content] = contents(db)
    content.unlink()
    with pytest.raises(DamagedError, match=file):
        export(db)
    assert not list(content.parent.iterdir())


def test_files_as_convex_writes_them_come_in(db, archive):
    content = b"picture"
    file = file_of(content, sha256=base64.b64encode(hashlib.sha256(content).digest()).decode())
    path = archive(
        {
            "a/documents.jsonl": lines({}),
            "_storage/documents.jsonl": lines(file),
            f"_storage/{file['_id']}.png": content,
            "_scheduled_functions/documents.jsonl": lines({}),
        }
    )
    assert load(db, path).rows == {"a": 1, "_storage": 1}
    [(document, text)] = files(db).values()
    assert text == "picture"
    assert document == {**file, "sha256": hashlib.sha256(content).hexdigest()}


def test_files_without_content_and_contents_without_document_are_left_out_and_told(db, archive):
    path = archive(
        {
            "a/documents.jsonl": lines({}),
            "_storage/documents.jsonl": lines(file_of(b"x")),
            "_storage/abc.png": "picture",
        }
    )
    done = load(db, path)
    assert done.rows == {"a": 1}
    assert done.notes == (
        "left out: 1 file whose contents are not in it",
        "left out: 1 content of _storage without a document",
    )
    assert files(db) == {}


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"size": 6.0}, "7 bytes"),
        ({"sha256": "short"}, "describes no file|SHA-256"),
        ({"sha256": None}, "describes no file"),
        ({"size": "7"}, "describes no file"),
        ({"_creationTime": None}, "describes no file"),
        ({"contentType": "a/b\r\nX: 1"}, "describes no file"),
    ],
)
def test_a_file_that_is_not_what_its_document_says_refuses_all(db, archive, wrong, said):
    file = file_of(b"picture", **wrong)
    path = archive(
        {
            "a/documents.jsonl": lines({}),
            "_storage/documents.jsonl": lines(file),
            f"_storage/{file['_id']}": "picture",
        }
    )
    with pytest.raises(LoadError, match=said):
        load(db, path)
    assert list(db) == []
    assert contents(db) == []


# -- what is refused -------------------------------------------------------------------------------


def own(number, **fields):
    return {"_id": IDS.new(number), "_creationTime": 1.0, **fields}


TWICE = own(10_001)


@pytest.mark.parametrize(
    "members,message",
    [
        ({"../a/documents.jsonl": ""}, "a name that no snapshot has"),
        ({"/a/documents.jsonl": ""}, "a name that no snapshot has"),
        ({"a/../b/documents.jsonl": ""}, "a name that no snapshot has"),
        ({"C:/a/documents.jsonl": ""}, "a name that no snapshot has"),
        ({"a\\documents.jsonl": ""}, "a name that no snapshot has"),
        ({"evil.sh": ""}, "none of a snapshot"),
        ({"a/b/documents.jsonl": ""}, "none of a snapshot"),
        ({"9/documents.jsonl": ""}, "none of a snapshot"),
        ({"a/inner.zip": "PK"}, "none of a snapshot"),
        ({"README.md": ""}, "no <table>/documents.jsonl"),
        ({"_components/x/a/documents.jsonl": ""}, "component"),
        ({"a/documents.jsonl": "", "A/documents.jsonl": ""}, "there twice"),
        ({"a/documents.jsonl": "{not json"}, "line 1: JSON is malformed"),
        ({"a/documents.jsonl": "{}\n[1]"}, "line 2: an object is expected"),
        ({"a/documents.jsonl": '{"s": "\ud800"}'.encode("utf8", "surrogatepass")}, "line 1"),
        ({"a/documents.jsonl": "\n\n" + "[" * 100_000}, "line 3: the value is nested too deeply"),
        ({"a/documents.jsonl": '{"x": ' + "[" * 500 + "]" * 500 + "}"}, "nested too deeply"),
        ({"a/documents.jsonl": '{"x": {"$bytes": 5}}'}, "base64"),
        ({"a/documents.jsonl": '{"x": {"$what": 5}}'}, "line 1"),
        ({"a/documents.jsonl": lines({"_id": "nonsense"})}, "`_id` 'nonsense'"),
        ({"a/documents.jsonl": lines({"_id": 7})}, "`_id` 7"),
        ({"a/documents.jsonl": lines(own(10_001), own(10_002))}, "is no id of table 'a'"),
        ({"a/documents.jsonl": lines(TWICE, TWICE)}, "two rows with the same `_id`"),
        ({"a/documents.jsonl": lines({**TWICE, "_creationTime": -1})}, "no time in milliseconds"),
        ({"a/documents.jsonl": lines(own(1_0001), {})}, "id"),
        (
            {"a/documents.jsonl": lines(own(10_001)), "b/documents.jsonl": lines(own(10_001))},
            "'a' and 'b' have ids of the same table number",
        ),
        (
            {
                "_tables/documents.jsonl": lines({"name": "a", "id": 10_005}),
                "a/documents.jsonl": lines(own(10_001)),
            },
            "has the number 10005 .* and its ids have 10001",
        ),
        ({"_tables/documents.jsonl": lines({"name": "a", "id": 2**40})}, "is no number of a table"),
        ({"_tables/documents.jsonl": lines({"name": "a", "id": 5})}, "is no number of a table"),
        ({"_tables/documents.jsonl": lines({"name": 5})}, "is expected"),
        (
            {
                "a/documents.jsonl": lines({"n": 2**64 - 1}),
                "a/generated_schema.jsonl": UNIFORM,
            },
            "beyond what an int64 can hold",
        ),
        ({"a/documents.jsonl": "", "a/generated_schema.jsonl": "what"}, "JSON is malformed"),
        ({"a/documents.jsonl": "", "a/generated_schema.jsonl": "7"}, "text is expected"),
        ({"a/documents.jsonl": "", "a/generated_schema.jsonl": '"{"'}, "line 1: the shape has"),
        ({"a/documents.jsonl": "", "a/generated_schema.jsonl": '"string"\nx'}, "line 2: JSON"),
        (
            {
                "a/documents.jsonl": lines({"n": "seven"}),
                "a/generated_schema.jsonl": json.dumps('{"n": int64}'),
            },
            "line 1: 'seven' is no int64",
        ),
    ],
)
def test_what_no_snapshot_holds_is_refused_and_nothing_changes(db, archive, members, message):
    db["kept"].insert({})
    number = db.number
    with pytest.raises(LivedbError, match=message):
        load(db, archive(members), mode="replace-all")
    assert (db.number, db["kept"].count()) == (number, 1)


def test_a_zip_of_an_older_convex_is_read_by_its_shapes(db, archive):
    shape = '{"_creationTime": normalfloat64, "_id": id<10001>, "any"?: unknown, "n": int64}'
    one = own(10_001, n="7", any=["5", "text"])
    members = {
        "a/documents.jsonl": lines(one, own(10_001, n="-8", any="5")),
        "a/generated_schema.jsonl": json.dumps(shape)
        + "\n"
        + lines({one["_id"]: {"any": ["int64", "infer"]}}),
    }
    load(db, archive(members))
    found = documents(db, "a")
    assert repr(found.pop(one["_id"])["any"]) == "[Int64(5), 'text']"
    assert [(row["n"], row["any"]) for row in found.values()] == [(Int64(-8), "5")]


def test_a_line_longer_than_a_document_is_refused(db, archive):
    line = '{"x": "' + "ab" * (9 << 20) + '"}'
    with pytest.raises(LoadError, match="longer line than a document can be"):
        load(db, archive({"a/documents.jsonl": line}))


def test_a_member_that_is_there_twice_is_refused(db, tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/documents.jsonl", "")
        with pytest.warns(UserWarning, match="Duplicate name"):
            made.writestr("a/documents.jsonl", "")
    with pytest.raises(LoadError, match="there twice"):
        load(db, path)


def test_a_link_is_refused(db, tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as made:
        link = zipfile.ZipInfo("a/documents.jsonl")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "/etc/passwd")
    with pytest.raises(LoadError, match="no plain file"):
        load(db, path)


def test_zeros_that_unpack_to_a_thousand_times_their_size_are_refused(db, tmp_path):
    path = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made,
        made.open("a/documents.jsonl", "w", force_zip64=True) as stream,
    ):
        for _ in range(100):
            stream.write(bytes(1 << 20))
    with pytest.raises(LoadError, match="200 times its own size"):
        load(db, path)


def test_a_size_that_lies_does_not_unpack_more(db, archive):
    path = archive({"a/documents.jsonl": lines({"n": 1}) * 1_000})
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<L", 16)
    path.write_bytes(data)
    with pytest.raises(LoadError):
        load(db, path)
    assert db.tables == []


def test_more_members_than_any_snapshot_has_are_refused_unread(db, archive, monkeypatch):
    path = archive({f"t{n}/documents.jsonl": "" for n in range(5)})
    monkeypatch.setattr(snapshot_members, "MEMBERS_MAX", 3)
    with pytest.raises(LoadError, match=r"it has 5 members .* at most 3"):
        load(db, path)


def test_a_directory_that_says_less_than_it_holds_is_refused(db, archive, monkeypatch):
    path = archive({f"t{n}/documents.jsonl": "" for n in range(5)})
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x05\x06")
    data[at + 8 : at + 12] = struct.pack("<2H", 1, 1)
    path.write_bytes(data)
    monkeypatch.setattr(snapshot_members, "MEMBERS_MAX", 3)
    with pytest.raises(LoadError, match="more than 3 members"):
        load(db, path)


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"not a zip" * 100, b"PK\x05\x06" + b"\xff" * 18, bytes(70_000)]
)
def test_what_is_no_zip_is_refused(db, tmp_path, data):
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with pytest.raises(LoadError, match=r"x\.zip"):
        load(db, path)


def test_a_path_that_is_no_file_is_refused(db, tmp_path):
    for path in (tmp_path, tmp_path / "gone.zip"):
        with pytest.raises(LoadError, match="cannot be read"):
            load(db, path)


@pytest.mark.parametrize("copy", [0, 1])
def test_a_name_that_says_to_be_utf8_and_is_not_is_refused(memory, archive, copy):
    name = "a/documents.jsonl"
    path = archive({name: ""})
    data = bytearray(path.read_bytes())
    flags = data.index(b"PK\x01\x02") + 8
    data[flags + 1] |= 0x08  # the directory says it of both copies of the name
    at = [data.index(name.encode()), data.rindex(name.encode())][copy]
    data[at] = 0x9F
    path.write_bytes(data)
    with pytest.raises(LoadError, match="is no zip, or a damaged one"):
        load(memory, path)


FLIPS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=3
)


@settings(max_examples=examples(30))
@given(data=st.data())
def test_flipped_bytes_load_whole_or_not_at_all(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("zips") / "x.zip"
    with livedb.open() as db:
        db["a"].insert([{"n": float(n), "s": "x" * n} for n in range(20)])
        transfer.export_snapshot(db.backend.workspace, path)
        damaged = bytearray(path.read_bytes())
        for place, bits in data.draw(FLIPS):
            damaged[int(place * len(damaged))] ^= bits
        path.write_bytes(damaged)
        number = db.number
        try:
            load(db, path, mode="replace")
        except LivedbError:
            assert db.number == number
        assert db["a"].count() in (0, 20)


def test_the_file_is_closed_again(tmp_path, archive):
    with SnapshotZip(archive({"a/documents.jsonl": ""})) as opened:
        (table,) = opened.tables
    assert opened._file.closed
    assert (table.name, table.number, table.has_ids) == ("a", None, False)
