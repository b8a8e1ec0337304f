"""The words of a text and of a search: features.md 5, "Full text"."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.search.words import text_query, words_of
from tests.search import brute


@pytest.mark.parametrize(
    "text,words",
    [
        ("The quick-brown fox_jumped!", ["the", "quick", "brown", "fox", "jumped"]),
        ("it's 3.14, e-mail@example.com", ["it", "s", "3", "14", "e", "mail", "example", "com"]),
        ("ÄPFEL und Straße", ["äpfel", "und", "straße"]),
        ("", []),
        (" \n\t.,;", []),
        ("\x00a\x00b\ud800c", ["a", "b", "c"]),
        ("\N{COMBINING ACUTE ACCENT}x हम लोग, दिल", ["x", "हम", "लोग", "दिल"]),
    ],
)
def test_words_are_runs_of_letters_and_digits_in_lower_case(text, words):
    assert [word.decode() for word in words_of(text)] == words


def test_there_is_no_stemming_and_no_stop_word():
    assert words_of("the runner runs and ran") == [b"the", b"runner", b"runs", b"and", b"ran"]


def test_a_word_of_more_than_32_bytes_is_left_out():
    assert words_of("a" * 32 + " " + "b" * 33 + " c") == [b"a" * 32, b"c"]
    assert words_of("é" * 16 + " " + "é" * 17) == ["é".encode() * 16]
    assert text_query("b" * 33) is None


def test_a_letter_and_its_accent_are_the_same_apart_and_composed():
    assert words_of("cafe\N{COMBINING ACUTE ACCENT}") == words_of(
        "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    )


def test_words_after_the_16th_of_a_search_are_ignored():
    query = text_query(" ".join(f"w{n}" for n in range(20)))
    assert query.words == tuple(b"w%d" % n for n in range(16))
    assert query.prefix == b"w15"


def test_the_last_word_is_a_beginning_and_a_word_asked_for_twice_counts_once():
    query = text_query("cat dog cat")
    assert (query.words, query.prefix) == ((b"cat", b"dog"), b"cat")


@pytest.mark.parametrize(
    "text,pairs",
    [
        ("cat", ()),
        ("cat dog", ((0, 2),)),  # 2 is any word that begins with "dog"
        ("cat dog bird", ((0, 1), (1, 3))),
        ("cat dog cat", ((0, 1), (1, 2))),
        ("cat dog cat dog", ((0, 1), (0, 2))),
        ("cat cat", ((0, 1),)),
    ],
)
def test_the_words_that_stand_side_by_side_in_a_search_are_its_pairs(text, pairs):
    assert text_query(text).pairs == pairs


def test_an_empty_search_asks_for_nothing():
    assert text_query("") is None
    assert text_query(" ., ") is None


@given(st.text() | st.text("aé_ हुिल\N{COMBINING ACUTE ACCENT}\N{VARIATION SELECTOR-17}"))
def test_words_are_what_looking_at_each_character_finds(text):
    expected = [word.encode(errors="surrogatepass") for word in brute.words(text)]
    assert words_of(text) == expected
