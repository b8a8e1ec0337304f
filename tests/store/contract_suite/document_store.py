"""What every `DocumentStore` promises. A store's test module inherits it and provides `world`."""

from __future__ import annotations

import pytest

from livedb.errors import SnapshotTooOldError
from livedb.keys.encoding import encode_key, prefix_end
from livedb.limits import READ_BLOCK_KEYS
from tests.store.contract_suite.world import INDEX_NAMES, OTHER, TABLE, World, document_id

MIXED_VALUES = [None, -3, 0, 2, 2.5, False, True, "", "a", "a\x00b", "b", b"x", [1, "z"], {"k": 1}]


def numbered(numbers: range | list[int], a: object = "a") -> dict[str, dict[str, object]]:
    return {document_id(number): {"a": a, "b": {"c": number % 5}} for number in numbers}


class DocumentStoreContract:
    """Inherit it, and define a fixture `world` that gives a `World` around the store."""

    def test_a_document_is_read_by_its_id(self, world: World):
        world.commit(numbered(range(3)))
        for key_id, stored in world.states[-1][TABLE].items():
            assert world.store.get(TABLE, key_id, number=world.number) == stored

    def test_an_id_that_was_never_written_gives_none(self, world: World):
        world.commit(numbered([1, 3]))
        for key_id in (document_id(0), document_id(2), document_id(4), "", "x"):
            assert world.store.get(TABLE, key_id, number=world.number) is None

    def test_a_deleted_document_is_gone_and_was_there(self, world: World):
        before = world.commit(numbered([1]))
        after = world.commit({document_id(1): None})
        world.check(before)
        world.check(after)
        assert world.store.count(TABLE, number=before) == 1

    def test_a_document_may_come_back_under_its_id(self, world: World):
        numbers = [
            world.commit(numbered([1], a="first")),
            world.commit({document_id(1): None}),
            world.commit(numbered([1], a="second")),
            world.commit(numbered([1], a="first")),
        ]
        for number in numbers:
            world.check(number)

    def test_values_of_all_types_come_in_index_order(self, world: World):
        documents = {document_id(n): {"a": a} for n, a in enumerate(MIXED_VALUES)}
        documents[document_id(99)] = {"b": 1}
        world.commit(documents)
        found = [entry.id for entry in world.scan("by_a")]
        assert found == [document_id(99), *(document_id(n) for n in range(len(MIXED_VALUES)))]

    @pytest.mark.parametrize("index", INDEX_NAMES)
    @pytest.mark.parametrize("reverse", [False, True])
    def test_bounds_are_half_open_at_every_key(self, world: World, index: str, *, reverse: bool):
        world.commit(numbered(range(70)))
        keys = [entry.key for entry in world.expected(index)]
        bounds = [keys[0], keys[1], keys[31], keys[32], keys[33], keys[-1], keys[-1] + b"\x00"]
        for lower in [b"", *bounds]:
            for upper in [None, *bounds]:
                found = world.scan(index, lower, upper, reverse=reverse)
                assert found == world.expected(index, lower, upper, reverse=reverse)

    def test_a_prefix_gives_exactly_its_documents(self, world: World):
        world.commit({document_id(n): {"a": "ab"[n % 2] * (1 + n % 3)} for n in range(50)})
        for text in ("a", "aa", "b", "bbb", "c"):
            prefix = encode_key(text)
            found = world.scan("by_a", prefix, prefix_end(prefix))
            assert found == world.expected("by_a", prefix, prefix_end(prefix))

    def test_the_index_of_a_nested_field_takes_absent_ones_first(self, world: World):
        world.commit(
            {
                document_id(1): {"b": {"c": 1}},
                document_id(2): {"b": {"d": 1}},
                document_id(3): {"b": 7},
                document_id(4): {"b": {"c": None}},
                document_id(5): {},
            }
        )
        assert world.scan("by_nested") == world.expected("by_nested")
        assert [entry.id for entry in world.scan("by_nested")][-2:] == [
            document_id(4),
            document_id(1),
        ]

    def test_blocks_start_small_and_stay_bounded(self, world: World):
        world.commit(numbered(range(1500)))
        for reverse in (False, True):
            blocks = world.store.scan(
                TABLE, "by_a", b"", None, number=world.number, reverse=reverse
            )
            sizes = [len(block) for block in blocks]
            assert sizes[0] <= 16
            assert max(sizes) == READ_BLOCK_KEYS
            assert sum(sizes) == 1500

    def test_a_scan_is_of_its_number_whatever_is_applied_between_blocks(self, world: World):
        number = world.commit(numbered(range(200)))
        for reverse in (False, True):
            expected = world.expected("by_a", number=number, reverse=reverse)
            scan = world.store.scan(TABLE, "by_a", b"", None, number=number, reverse=reverse)
            found = []
            for round_, block in enumerate(scan):
                found += block.entries()
                world.commit(numbered(range(0, 200, 3), a=f"moved {round_}"))
                world.commit({document_id(n): None for n in range(round_, 200, 7)})
                world.commit(numbered(range(200, 230 + round_)))
            assert found == expected

    def test_tables_do_not_mix(self, world: World):
        world.commit(numbered([1]))
        other = document_id(1, OTHER)
        world.commit({other: {"a": 1}}, table=OTHER)
        assert [entry.id for entry in world.scan("by_a", table=OTHER)] == [other]
        assert world.store.get(TABLE, other, number=world.number) is None
        world.check(world.number)

    def test_undo_takes_back_the_newest_commits(self, world: World):
        world.commit(numbered(range(10)))
        number = world.commit(numbered(range(5, 15), a="b"))
        world.commit(numbered(range(3), a="c"))
        world.commit({document_id(n): None for n in range(7)})
        world.commit(numbered(range(30), a="d"))
        world.undo(number)
        for kept in range(number + 1):
            world.check(kept)
        world.commit(numbered(range(4, 20), a="e"))
        for kept in range(number + 2):
            world.check(kept)

    def test_an_undo_of_nothing_changes_nothing(self, world: World):
        number = world.commit(numbered(range(10)))
        world.undo(number)
        world.check(number)

    def test_released_versions_are_gone_or_exact(self, world: World):
        world.commit(numbered(range(10)))
        released = world.commit(numbered(range(5), a="b"))
        number = world.commit(numbered(range(3), a="c"))
        world.check(released)
        world.release(released)
        world.check(released)
        world.check(number)
        world.release(number)
        with pytest.raises(SnapshotTooOldError):
            world.store.get(TABLE, document_id(1), number=released)
        world.check(number)
