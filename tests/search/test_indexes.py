"""Text and vector indexes at every commit that is kept: random histories against looking at all."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from livedb.keys.encoding import encode_key
from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.search import ranking, text_index
from livedb.search.postings import Postings
from livedb.search.text_index import TextIndex
from livedb.search.vector_index import VectorIndex
from livedb.search.vectors import VectorQuery, cosines, directions, scores, unit
from livedb.search.words import text_query
from livedb.text import encode_fields
from livedb.values import UNSET
from tests.search import brute

TEXT = SearchIndexDefinition("body", ("who", "deep.er"), "by_text")
VECTOR = VectorIndexDefinition("at", 3, ("who", "deep.er"), "by_vector")
WORDS = ("a", "an", "ant", "bee", "beetle", "cat", "Ärger", "cats", "x" * 40)


class Rows:
    """A base of documents in id order."""

    def __init__(self, documents):
        self.documents = sorted(documents.items())

    def row_of(self, document_id):
        return next((n for n, each in enumerate(self.documents) if each[0] == document_id), None)

    def id_at(self, row):
        return self.documents[row][0]

    def creation_times(self, rows):
        return np.array([self.documents[row][1][0] for row in rows.tolist()], float)


def fields_of(random):
    fields = {"who": random.choice(["ada", 1, 1.0, None, True])}
    if random.random() < 0.9:
        fields["body"] = " ".join(random.choices(WORDS, k=random.randrange(8)))
    elif random.random() < 0.5:
        fields["body"] = 7
    if random.random() < 0.5:
        fields["deep"] = {"er": random.randrange(2)}
    if random.random() < 0.9:
        fields["at"] = [random.randrange(-2, 3) for _ in range(3)]
    elif random.random() < 0.5:
        fields["at"] = random.choice([[1.0], [1, 2, float("nan")], ["1", 2, 3], "abc", [True] * 3])
    return fields


def stored(document):
    return None if document is None else (document[0], encode_fields(document[1]))


class History:
    """Indexes and a model of every commit."""

    def __init__(self, seed):
        self.random = random = Random(seed)
        base = {f"d{n:02}": (float(random.randrange(5)), fields_of(random)) for n in range(8)}
        self.states = [base]
        self.oldest = 0
        rows = Rows(base)
        self.indexes = (TextIndex(TEXT, rows), VectorIndex(VECTOR, rows))
        for index in self.indexes:
            index.add_rows(range(len(base)), [each[1] for _, each in rows.documents])
            index.settle(0)

    @property
    def number(self):
        return len(self.states) - 1

    def commit(self):
        state = dict(self.states[-1])
        self.states.append(state)
        for _ in range(self.random.randrange(1, 4)):
            document_id = f"d{self.random.randrange(14):02}"
            old = state.pop(document_id, None)
            new = None
            if old is None or self.random.random() < 0.7:
                created = float(self.random.randrange(5)) if old is None else old[0]
                new = state[document_id] = (created, fields_of(self.random))
            for index in self.indexes:
                index.apply(self.number, document_id, stored(old), stored(new))

    def undo(self):
        number = max(self.oldest, self.number - self.random.randrange(3))
        del self.states[number + 1 :]
        for index in self.indexes:
            index.undo(number)

    def check(self):
        random = self.random
        number = random.randrange(self.oldest, self.number + 1)
        documents = dict(self.states[number])
        own = {}
        for _ in range(random.randrange(3)):
            document_id = f"d{random.randrange(16):02}"
            made = (float(random.randrange(5)), fields_of(random))
            own[document_id] = None if random.random() < 0.3 else made
        documents.update(own)
        seen = [brute.Document(key, *each) for key, each in documents.items() if each is not None]
        own_stored = {key: stored(each) for key, each in own.items()}
        equal = {}
        if random.random() < 0.5:
            equal["who"] = random.choice(["ada", 1, None, "nobody"])
        if random.random() < 0.3:
            equal["deep.er"] = random.choice([0, UNSET])
        positions = [(("who", "deep.er").index(path), encode_key(v)) for path, v in equal.items()]
        self.check_text(number, seen, own_stored, equal, positions)
        self.check_vector(number, seen, own_stored, equal, positions)

    def check_text(self, number, seen, own, equal, positions):
        text = " ".join(self.random.choices(WORDS[:-1], k=self.random.randrange(1, 4)))
        expected = brute.text_search(seen, "body", text, equal)
        limit = self.random.choice([1, 3, 100])
        found = self.indexes[0].search(
            text_query(text), positions, number=number, limit=limit, own=own
        )
        assert found == expected[:limit], (text, equal)

    def check_vector(self, number, seen, own, equal, positions):
        vector = [float(self.random.randrange(-2, 3)) for _ in range(2)] + [1.0]
        limit = self.random.choice([1, 3, 100])
        query = VectorQuery(unit(vector).tobytes(), limit, tuple(positions))
        found = self.indexes[1].search(query, number=number, own=own)
        expected = brute.vector_search(seen, "at", vector, list(equal.items()) or None)
        scores = [score for _, score in expected[:limit]]
        assert [hit.score for hit in found] == pytest.approx(scores, abs=1e-5)
        assert {hit.id for hit in found} <= {key for key, _ in expected}
        last = found[-1].score if found else 1.0
        sure = {key for key, score in expected if score > last + 1e-5}
        assert sure <= {hit.id for hit in found}
        assert found == sorted(found, key=lambda hit: (-hit.score, hit.id))


@pytest.mark.parametrize("at_once", [1_024, 1])
@pytest.mark.parametrize("seed", range(25))
def test_every_search_at_every_kept_commit_equals_looking_at_all_documents(
    seed, at_once, monkeypatch
):
    """With the places of words looked up for all documents, and only for those that may be best."""
    monkeypatch.setattr(ranking, "_LOOKED_AT_ONCE", at_once)
    history = History(seed)
    for _ in range(40):
        (history.undo if history.random.random() < 0.15 else history.commit)()
        if history.random.random() < 0.7:
            history.oldest = max(history.oldest, history.number - 5)
            for index in history.indexes:
                index.settle(history.oldest)
                index._check()
            history.check()


def test_the_best_of_many_equal_the_best_of_looking_at_all_documents():
    random = Random(1)
    words = [f"w{n}" for n in range(12)]
    weights = [1 / (n + 1) for n in range(12)]
    texts = [
        " ".join(random.choices(words, weights, k=random.randrange(2, 30))) for _ in range(3_000)
    ]
    rows = {f"d{n:06}": (float(n % 7), {"body": text}) for n, text in enumerate(texts)}
    index = TextIndex(TEXT, Rows(rows))
    index.add_rows(range(len(rows)), [fields for _, fields in rows.values()])
    index.settle(0)
    seen = [brute.Document(key, *each) for key, each in rows.items()]
    for text in ("w0 w1", "w1 w0 w2", "w3 w4 w5 w6", "w0 w", "w1 w1", "w11 w10"):
        expected = brute.text_search(seen, "body", text, {})
        for limit in (1, 10, 1_024, 5_000):
            found = index.search(text_query(text), [], number=0, limit=limit, own={})
            assert found == expected[:limit], (text, limit)


def found_by(text, *texts):
    """What a search finds in some texts, each newer than those after it."""
    index = TextIndex(TEXT, Rows({}))
    for at, each in enumerate(texts):
        index.apply(1, str(at), None, stored((float(-at), {"body": each})))
    index.settle(0)
    return index.search(text_query(text), [], number=1, limit=9, own={})


@pytest.mark.parametrize(
    "text,near,far",
    [
        ("quick fox", "x x x quick fox", "quick x x x fox"),
        ("quick fox", "x x x fox quick", "quick x x x fox"),  # in either order
        ("quick fo", "x x x quick fox", "quick x x x fox"),  # and as the beginning of a word
        ("quick fox", "fox x quick fox", "fox fox x quick"),  # the nearest of several count
        ("a b c d", "a b c d x x", "a c x b d x"),  # neighbours in the search
        ("fox fox", "x x fox fox", "fox x x fox"),
        ("w fo fox", "x x fo fox", "fo x x fox"),  # the beginning of a word and that word
    ],
)
def test_a_text_in_which_the_words_stand_nearer_comes_first(text, near, far):
    hits = found_by(text, far, near)
    assert [hit.id for hit in hits] == ["1", "0"]
    assert hits[0].score > hits[1].score


def test_a_word_alone_is_near_nothing_and_ties_are_still_newest_first():
    assert [hit.id for hit in found_by("fox", "fox x x", "x x fox")] == ["0", "1"]
    assert [hit.id for hit in found_by("fox dog", "fox x x", "x x fox")] == ["0", "1"]
    assert [hit.id for hit in found_by("fox dog", "fox dog x", "x dog fox")] == ["0", "1"]
    first, second = found_by("fox fox", "fox x x", "x x fox")
    assert first.score == second.score  # not near itself


@pytest.mark.parametrize("before", [65_533, 65_534, 65_535, 70_000, 140_000])
def test_words_are_near_up_to_the_65536th_place_of_a_text(before):
    texts = ["x " * before + "quick fox", "quick " + "x " * before + "fox"]
    documents = [brute.Document(str(n), -n, {"body": each}) for n, each in enumerate(texts)]
    assert found_by("quick fox", *texts) == brute.text_search(documents, "body", "quick fox", {})
    assert found_by("quick fox", *texts)[0].id == ("0" if before <= 65_534 else "1")


def test_texts_of_many_words_are_taken_in_few_at_a_time(monkeypatch):
    monkeypatch.setattr(text_index, "_WAITING_WORDS_MAX", 10)
    index = TextIndex(TEXT, Rows({f"d{n}": (float(n), {}) for n in range(9)}))
    index.add_rows(range(9), [{"body": "one two three four"} for _ in range(9)])
    assert len(index._waiting) < 3
    index.settle(0)
    index._check()
    assert len(index.search(text_query("two three"), [], number=0, limit=99, own={})) == 9


def test_postings_merged_are_those_of_all_documents():
    documents = [(slot, [b"a"] * (slot % 3) + [b"b%d" % (slot % 5)]) for slot in range(50)]
    parts = [Postings.of_documents(documents[at : at + 7]) for at in range(0, 50, 7)]
    merged = Postings.merged(parts, lambda slots: np.ones(len(slots), bool))
    whole = Postings.of_documents(documents)
    merged._check()
    for word in (b"a", b"b1", b"b9"):
        for of_merged, of_whole in zip(merged.of_word(word), whole.of_word(word), strict=True):
            assert of_merged.tolist() == of_whole.tolist()
    assert sorted(merged.of_prefix(b"b").slots.tolist()) == list(range(50))
    assert merged.of_word(b"a").places.tolist()[:4] == [0, 0, 1, 0]
    nothing = Postings.merged(parts, lambda slots: np.zeros(len(slots), bool))
    nothing._check()
    assert len(nothing) == 0


def test_a_document_with_a_word_more_than_255_times_is_found_as_with_255():
    index = TextIndex(TEXT, Rows({}))
    index.apply(1, "a", None, stored((1.0, {"body": "ant " * 300})))
    index.settle(0)
    own = {"b": stored((2.0, {"body": "ant " * 300}))}
    found = index.search(text_query("ant"), [], number=1, limit=5, own=own)
    assert [hit.id for hit in found] == ["b", "a"]
    assert found[0].score == found[1].score


@pytest.mark.parametrize("numbers", [[1e300, 1e300], [1e-320, 0.0], [3, 4], [-5.0, 1e-9]])
def test_a_vector_of_any_length_has_a_direction(numbers):
    assert np.isclose(np.linalg.norm(unit(numbers)), 1.0)


def test_a_score_does_not_depend_on_what_else_is_compared():
    random = np.random.default_rng(1)
    vectors = random.standard_normal((300, 384)).astype(np.float32)
    query = unit(list(random.standard_normal(384)))
    together = cosines(vectors, query)
    alone = [float(cosines(vectors[at : at + 1], query)[0]) for at in range(300)]
    assert together.tolist() == alone
    asked = directions([unit(each.tolist()).tobytes() for each in vectors[:50]])
    for numbers in vectors[50:60].tolist():
        each_alone = [VectorQuery(row.tobytes(), 1).score(numbers) for row in asked]
        assert scores(numbers, asked) == each_alone


def test_what_nobody_can_see_leaves_the_postings():
    index = TextIndex(TEXT, Rows({}))
    old = None
    for number in range(1, 200):
        new = stored((1.0, {"body": f"word{number} and others"}))
        index.apply(number, "a", old, new)
        index.settle(number - 1)
        old = new
    assert sum(map(len, index._postings)) < 30


def bytes_a_document(index, count):
    return index.size_bytes / count


def test_bytes_of_a_document_in_a_text_index_are_as_stated():
    """`TextIndex`: 28 bytes, 4 a filter field, 5 a different word, 2 a word, 48 one of them all."""
    count, words = 20_000, 2_000
    rows = {f"d{n:06}": (float(n), {}) for n in range(count)}
    index = TextIndex(TEXT, Rows(rows))
    random = Random(1)
    texts = [{"body": " ".join(f"w{random.randrange(words)}" for _ in range(50))} for _ in rows]
    distinct = sum(len(set(each["body"].split())) for each in texts)
    index.add_rows(range(count), texts)
    index.settle(0)
    of_words = 5 * distinct + 2 * 50 * count
    stated = 28 * count + 4 * 2 * count + of_words + 48 * words
    assert index.size_bytes <= 2 * stated  # columns grow by doubling
    assert sum(part.size_bytes for part in index._postings) <= of_words + 3 * 48 * words


def test_bytes_of_a_document_in_a_vector_index_are_as_stated():
    """`VectorIndex`: 4 bytes a dimension, 24, 4 a filter field."""
    count = 3_000
    index = VectorIndex(VECTOR, Rows({}))
    index.add_rows(range(count), [{"at": [1.0, 2.0, float(n)]} for n in range(count)])
    assert sum(block.nbytes for block in index._blocks) == 4 * 3 * count
    assert index.size_bytes <= 4 * 3 * count + 2 * (24 + 4 * 2) * count + 1_000
