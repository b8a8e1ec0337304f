"""The PyPI package unchanged: its ConvexClient and its older client over HTTP."""

from __future__ import annotations

import pytest

from tests.service.serving import ADMIN_KEY, token

FAR = 4e9
"""Seconds since the epoch: tokens are good until 2096."""


def test_a_client_queries_mutates_follows_and_acts(served):
    report = served.pypi("basics")
    assert (report["before"], report["first"], report["second"]) == ([], ["one"], ["one", "two"])
    assert report["done"] == 3
    assert report["async"] == ["one", "two", "by action"]
    fields = ["_creationTime", "_id", "n", "title", "user"]
    assert [row[0] for row in report["rows"]] == ["one", "two", "by action"]
    assert report["rows"][0][1:] == [3.0, fields]
    assert report["paths"] == ["the default function"] * 3


def test_every_value_comes_back_as_it_was_sent_over_both_clients(served):
    assert served.pypi("values") == []


def test_errors_arrive_with_their_data_and_the_client_goes_on(served):
    report = served.pypi("errors")
    assert report["application"][::2] == ["ConvexError", {"why": "because"}]
    assert report["application query"][::2] == ["ConvexError", {"no": "nobody"}]
    assert report["application action"][::2] == ["ConvexError", {"why": "an action"}]
    assert report["http application"][::2] == ["ConvexError", {"why": "because"}]
    assert "RuntimeError: a bug of the application" in report["bug"][1]
    assert "RuntimeError: a bug of the application" in report["http bug"][1]
    assert "Could not find public function for 'tasks:nope'" in report["unknown"][1]
    assert "Could not find public function for 'tasks:secret'" in report["internal"][1]
    assert "ArgumentValidationError" in report["arguments"][1]
    assert report["after"] == "the default function"


def test_a_query_that_failed_recovers_when_its_data_comes(served):
    (kind, _, data), value = served.pypi("recovers")
    assert (kind, data) == ("ConvexError", {"no": "ada"})
    assert value == "there"


def test_the_older_client_works_over_http(served):
    rows, done, unknown = served.pypi("http")
    assert rows == [["one", 2.0]]
    assert done == 2.0
    assert "Could not find public function" in unknown[1]


def test_signing_in_and_out_moves_the_queries_with_it(served):
    assert served.pypi("auth", token("ada", FAR)) == [None, "ada", "ada", None]


def test_the_older_client_sends_its_token_and_reads_a_refusal(served):
    before, during, refused = served.pypi("http_auth", token("ada", FAR))
    assert (before, during) == (None, "ada")
    assert "InvalidAuthHeader" in refused[1]


def test_an_admin_key_reaches_internal_functions(served):
    assert served.pypi("admin", ADMIN_KEY) == "internal"


@pytest.mark.parametrize("megabytes", [20, 60])
def test_a_long_answer_arrives_in_fragments(served, megabytes):
    assert served.pypi("big", megabytes * 1000) == [megabytes * 1000, "the default function"]


def test_an_answer_that_it_cannot_take_is_an_error_and_not_asked_for_again(served):
    (kind, text, _), after = served.pypi("too_big", 70_000)
    assert kind == "Exception"
    assert "ResultTooLarge" in text
    assert after == "the default function"
    assert served.db.statistics().runs["tasks:big_action"] == 1
