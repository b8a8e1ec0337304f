"""The npm package unchanged: ConvexClient, ConvexHttpClient and the React hooks."""

from __future__ import annotations

import json
import threading
import time

import pytest

from tests.service import shop
from tests.service.serving import ADMIN_KEY, serving, token

FAR = 4e9
"""Seconds since the epoch: tokens are good until 2096."""


def test_a_client_follows_writes_and_reads_its_own_write(served):
    report = served.npm("basics")
    assert report["seen"] == [[], ["one"], ["one", "by action"]]
    assert report["own"] == ["one"]
    assert report["done"] == 2
    assert report["async"] == ["one", "by action"]
    fields = ["_creationTime", "_id", "n", "title", "user"]
    assert report["rows"] == [["one", 3, fields], ["by action", 0, fields]]
    assert report["paths"] == ["the default function"] * 2 + [1]


def test_every_value_comes_back_as_it_was_sent(served):
    assert served.npm("values") == []


def test_errors_arrive_with_their_data_and_the_client_goes_on(served):
    report = served.npm("errors")
    assert report["application"][::2] == ["ConvexError", {"why": "because"}]
    assert report["application query"][::2] == ["ConvexError", {"no": "nobody"}]
    assert report["application action"][::2] == ["ConvexError", {"why": "an action"}]
    assert report["http application"][::2] == ["ConvexError", {"why": "because"}]
    for bug in ("bug", "http bug"):
        assert report[bug][0] == "Error"
        assert "RuntimeError: a bug of the application" in report[bug][1]
    assert "Could not find public function for 'tasks:nope'" in report["unknown"][1]
    assert "Could not find public function for 'tasks:secret'" in report["internal"][1]
    assert "ArgumentValidationError" in report["arguments"][1]
    assert report["after"] == "the default function"


def test_the_http_client_queries_mutates_acts_and_reads_at_one_timestamp(served):
    report = served.npm("http")
    assert report["rows"] == report["consistent"] == ["one"]
    assert report["grown"] == [1, 2]
    # Its first consistent query fixed what it sees, before anything grew.
    assert report["still"] == []
    assert report["done"] == 2
    assert report["function"] == ["one", "by action"]


def test_urls_may_end_in_a_slash_and_name_localhost(served):
    assert served.npm("urls") == ["the default function"] * 6


def test_set_auth_is_confirmed_and_what_is_followed_runs_as_the_new_caller(served):
    report = served.npm("auth", token("ada", FAR), token("bob", FAR))
    assert report["seen"] == [None, "ada", "bob"]
    assert report["changes"] == [True, True]
    assert report["mutated"] == "ada"


def test_set_auth_is_confirmed_when_nothing_is_followed(served):
    assert served.npm("auth_alone", token("ada", FAR)) == [True]


def test_a_refused_token_is_fetched_anew_by_force(served):
    report = served.npm("auth_refused", token("ada", 1), token("ada", FAR))
    assert report["asked"][:2] == [False, True]
    assert report["changes"] == [True]
    assert report["me"] == "ada"


def test_without_any_good_token_the_client_goes_on_as_nobody(served):
    assert served.npm("auth_hopeless", token("ada", 1)) == {"changes": [False], "me": None}


def test_an_identity_that_expires_is_renewed_before_a_mutation_runs(served):
    now_s = time.time()
    short = token("ada", int(now_s) + 3, int(now_s))
    long = token("ada", FAR, int(now_s))
    assert served.npm("auth_expires", short, long, 3200) == ["ada", "ada"]


def test_the_http_client_sends_its_token(served):
    before, during, refused = served.npm("http_auth", token("ada", FAR))
    assert (before, during) == (None, "ada")
    assert "InvalidAuthHeader" in refused[1]


def test_an_admin_key_reaches_internal_functions(served):
    assert served.npm("admin", ADMIN_KEY) == "internal"


def test_what_functions_print_reaches_the_clients_console(memory):
    shop.define(memory)
    # Here and not in a fixture: between the two pytest puts another standard output in place.
    with serving(memory) as served:
        printed = "\n".join(served.npm("logs"))
    for level, text in [
        ("Q(tasks:noisy)", "counting 0"),
        ("Q(tasks:noisy)", "careful"),
        ("M(tasks:fail)", "about to fail"),
        ("A(tasks:work)", "working"),
    ]:
        assert level in printed
        assert text in printed
    assert "Could not parse" not in printed


def test_a_result_above_five_megabytes_arrives_in_chunks(served):
    count, after, printed = served.npm("big", 8000)
    assert (count, after, printed) == (8000, "the default function", [])


def test_an_optimistic_update_is_undone_in_the_transition_that_brings_the_truth(served):
    assert served.npm("optimistic") == [[], ["soon"], ["one"], ["one", "soon"], ["one"]]


def test_pages_do_not_gap_or_overlap_and_a_bad_cursor_says_so(served):
    report = served.npm("pages")
    assert report["pages"] == [["t0", "t1"], ["t2", "t3"]]
    assert report["last"] == [["t4"], True, "string"]
    assert report["bounded"] == ["t0", "t1", "t2", "t3"]
    kind, text, data = report["bad"]
    assert kind == "ConvexError"
    assert "InvalidCursor" in text
    assert data == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}


# -- React -----------------------------------------------------------------------------------------


def test_the_hooks_follow_write_act_and_skip(served):
    report = served.react("hooks")
    assert report["seen"] == ['"loading"', "[]", '["one?"]', '["one"]', '["one","by action"]']
    assert report["done"] == 2
    assert report["skipped"]


def test_a_paginated_hook_grows_and_splits_its_page(served):
    report = served.react("pages", 12)
    assert report["titles"] == [f"t{n}" for n in range(12)]


def test_a_paginated_hook_loads_more_to_the_end_and_beyond(served):
    add = served.db.function("tasks:add")
    for n in range(5):
        add(title=f"t{n}", user="ada")
    report = served.react("load_more")
    assert report["first"] == ["t0", "t1"]
    assert report["all"] == ["t0", "t1", "t2", "t3", "t4", "late"]
    assert report["statuses"] == [
        "LoadingFirstPage", "CanLoadMore", "LoadingMore", "CanLoadMore", "LoadingMore", "Exhausted",
    ]  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"maximumRowsRead": 4}, {"maximumBytesRead": 120}])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_paginated_hook_shows_no_gap_and_nothing_twice_while_pages_grow_shrink_and_split(
    served, order, options
):
    """Some documents are never touched: whatever is shown has all of them up to its end."""
    db = served.db
    is_reverse = order == "desc"
    steps = 60
    kept = sorted((f"{n:03} kept" for n in range(0, 100, 5)), reverse=is_reverse)
    late = [f"{n:03} late" for n in range(0, 100, 7)]

    @db.table("churned", indexes={"by_title": ["title"]})
    class Churned:
        title: str

    @db.query(name="churned:page")
    def page(ctx, paginationOpts):  # noqa: N803  # the wire's name
        rows = ctx.db.query("churned").with_index("by_title").order(order)
        return rows.paginate({**paginationOpts, **options})

    @db.mutation(name="churned:step")
    def step(ctx, step: int):
        """Some documents come and a range of others goes; what is left after the last is known."""
        draws = ctx.random
        rows = ctx.db.query("churned").with_index("by_title").collect()
        others = [row["_id"] for row in rows if not row.title.endswith("kept")]
        is_last = step == steps - 1
        first = 0 if is_last else draws.randrange(len(others) + 1)
        for gone in others[first : first + (len(others) if is_last else 8)]:
            ctx.db.delete(gone)
        start = draws.randrange(100)
        new = [f"{start:03} {step} {n}" for n in range(draws.randint(1, 9))]
        for title in late if is_last else new:
            ctx.db.insert("churned", {"title": title})

    db["churned"].insert([{"title": title} for title in kept])
    expected = json.dumps(sorted(kept + late, reverse=is_reverse), separators=(",", ":"))
    moments = served.react("churn", steps, expected)
    assert len(moments) > steps
    for shown in moments:
        assert shown == sorted(set(shown), reverse=is_reverse)
        untouched = [title for title in shown if title.endswith("kept")]
        assert untouched == kept[: len(untouched)]
        if shown and len(untouched) < len(kept):
            following = kept[len(untouched)]
            assert (following < shown[-1]) is is_reverse


def test_an_action_whose_connection_is_lost_fails_and_is_not_sent_again(served):
    leave = threading.Event()

    @served.db.action(name="tasks:linger")
    def linger(ctx) -> None:
        leave.wait(30)

    try:
        report = served.npm("lost_action")
    finally:
        leave.set()
    assert "Connection lost while action was in flight" in report["outcome"][1]
    assert (report["actions"], report["sessions"], report["connections"]) == (1, 1, 2)
    assert served.db.function("tasks:titles")(user="ada") == ["one"]


def test_a_token_that_stays_the_same_is_sent_once_and_before_all_else_where_it_is_expected(served):
    report = served.npm("auth_static", token("ada", FAR))
    assert report["before"] == []
    assert (report["seen"], report["changes"], report["sent"]) == (["ada"], [True], 1)


def test_a_client_that_breaks_the_protocol_does_not_come_again(served):
    report = served.npm("fatal")
    assert len(report["uncaught"]) == 1
    assert "MalformedMessage" in report["uncaught"][0]
    assert report["connections"] == 1


def test_mutations_of_the_http_client_go_one_by_one_unless_it_is_told_otherwise(served):
    report = served.npm("http_queue")
    assert report["queued"] == 1
    assert report["skipping"] > 1
    assert report["titles"][:4] == ["t0", "t1", "t2", "t3"]
    assert sorted(report["titles"]) == [f"t{n}" for n in range(8)]


def test_pages_that_the_client_keeps_together_load_and_grow(served):
    report = served.npm("paginated_updates")
    assert len(report["first"]) == 2
    assert report["second"][:2] == report["first"]
    assert sorted(report["all"]) == [f"t{n}" for n in range(5)]
    assert report["grown"] == ["new", *(f"t{n}" for n in range(5))]
