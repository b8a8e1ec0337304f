"""The document that an id in a table on screen names."""

from __future__ import annotations

import livedb
from livedb.notebook.references import reference_of


def test_an_id_leads_to_its_document_and_ids_in_it_lead_on():
    with livedb.open() as db:
        ana = db["users"].insert({"name": "Ana\n"})
        task = db["tasks"].insert({"user": ana, "n": 1, "tags": ["a"], "note": None})
        found = reference_of(db.backend, task)
        assert found.table == "tasks"
        fields = {name: (text, leads_on) for name, text, leads_on in found.fields}
        assert fields["user"] == (ana, True)
        assert fields["_creationTime"][0].startswith("20")  # a time, not milliseconds
        assert (fields["n"], fields["tags"], fields["note"]) == (
            ("1", False),
            ('["a"]', False),
            ("null", False),
        )
        assert dict(reference_of(db.backend, ana).to_content())["table"] == "users"


def test_an_id_of_a_document_that_is_gone_still_names_its_table():
    with livedb.open() as db:
        ana = db["users"].insert({"name": "Ana"})
        db["users"].delete(ana)
        found = reference_of(db.backend, ana)
        assert (found.table, found.fields) == ("users", None)


def test_what_is_no_id_and_what_is_livedbs_own_name_nothing():
    with livedb.open() as db, livedb.open() as other:
        other["a"].insert({})
        foreign = other["b"].insert({})
        for key in ("", "x", "j" * 32, foreign):
            assert reference_of(db.backend, key).table is None


def test_a_handle_knows_the_documents_of_its_workspace():
    with livedb.open() as db:
        ana = db["users"].insert({"name": "Ana"})
        handle = db.sql("select name from users").live()
        assert handle.reference(ana).table == "users"


def test_an_id_of_a_file_leads_to_its_document():
    with livedb.open() as db:
        photo = db.files.put(b"\x89PNG\r\n\x1a\n", content_type="image/png")
        task = db["tasks"].insert({"photo": photo})
        found = reference_of(db.backend, task)
        assert ("photo", photo, True) in found.fields
        file = reference_of(db.backend, photo)
        fields = {name: text for name, text, _ in file.fields}
        assert (file.table, fields["contentType"], fields["size"]) == ("_storage", "image/png", "8")
        db.files.delete(photo)
        assert reference_of(db.backend, photo).fields is None
