from __future__ import annotations

import threading

import pytest

from livedb.notebook.feed import Message
from livedb.notebook.publisher import (
    BATCHES_PER_S_MAX,
    UNACKNOWLEDGED_MAX,
    Pace,
    Publisher,
    carriers,
    kernel_publisher,
)
from tests.waiting import until


class Table:
    """A member that counts; `news` is what it would send."""

    def __init__(self, address: str, realms: frozenset[str] = frozenset({"page"})) -> None:
        self.address, self._realms = address, realms
        self.news = 0
        self.batches: list[dict[str, object]] = []
        self.threads: set[str] = set()
        self.sent = threading.Event()
        self.fails = False

    def realms(self) -> frozenset[str]:
        return self._realms

    def gather(self, members):
        return [(each, None) for each in members]

    def take_update(self, state) -> Message | None:
        if self.fails:
            raise RuntimeError("broken")
        return Message({"news": self.news}, [b"x"]) if self.news else None

    def beat(self) -> Message:
        return Message({"beat": True})

    def settle(self, now_s: float) -> float | None:
        return None

    def send_batch(self, content: dict[str, object], buffers: list[bytes]) -> None:
        self.batches.append(content)
        self.threads.add(threading.current_thread().name)
        self.sent.set()


@pytest.fixture
def publisher():
    with Publisher() as each:
        yield each


def test_updates_leave_from_the_publishers_own_thread(publisher):
    table = Table("a")
    publisher.join(table)
    table.news = 1
    publisher.publish("a")
    assert table.sent.wait(5)
    assert table.threads == {"livedb-publisher"}


def test_a_burst_becomes_few_batches_and_ends_with_the_newest(publisher):
    table = Table("a")
    publisher.join(table)
    for news in range(1, 5_001):
        table.news = news
        publisher.publish("a")
    until(lambda: table.batches and table.batches[-1]["entries"][0]["news"] == 5_000)
    assert len(table.batches) < 200


def test_tables_of_one_page_share_a_message(publisher):
    tables = [Table(name) for name in "abc"]
    for table in tables:
        publisher.join(table)
        table.news = 1
    publisher.publish("a")  # the others have heard of nothing yet
    until(lambda: any(table.batches for table in tables))
    (batch,) = [each for table in tables for each in table.batches]
    assert sorted(entry["address"] for entry in batch["entries"]) == ["a", "b", "c"]
    assert sorted(entry["buffers"] for entry in batch["entries"]) == [0, 1, 2]


def test_a_broken_table_does_not_silence_the_others(publisher, caplog):
    broken, sound = Table("broken"), Table("sound")
    broken.fails, sound.news = True, 1
    for table in (broken, sound):
        publisher.join(table)
    for table in (broken, sound):
        publisher.publish(table.address)
    assert sound.sent.wait(5)
    until(lambda: "update failed" in caplog.text)


def test_a_table_that_left_is_not_called(publisher):
    gone, here = Table("gone"), Table("here")
    gone.news = here.news = 1
    for table in (gone, here):
        publisher.join(table)
    publisher.leave("gone")
    publisher.publish("gone")
    publisher.publish("here")
    assert here.sent.wait(5)
    assert gone.batches == []


def test_publish_returns_while_a_member_is_busy(publisher):
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Table):
        def take_update(self, state):
            entered.set()
            assert go_on.wait(5)
            return super().take_update(state)

    slow = Slow("slow")
    publisher.join(slow)
    publisher.publish("slow")
    assert entered.wait(5)
    publisher.publish("slow")
    publisher.acknowledge("page", 1)
    publisher.leave("slow")  # none of them waits: this line is reached
    go_on.set()


def test_close_ends_the_thread():
    publisher = Publisher()
    publisher.join(Table("a"))
    thread = publisher._thread
    publisher.close()
    assert thread is not None
    assert not thread.is_alive()
    publisher.publish("a")


def test_a_kernel_has_one_publisher():
    assert kernel_publisher() is kernel_publisher()


def test_the_first_batch_is_due_at_once_and_the_next_a_frame_later():
    pace = Pace()
    assert pace.due_s() < 0
    pace.begin(10.0)
    assert pace.due_s() == pytest.approx(10.0 + 1 / BATCHES_PER_S_MAX)


def test_a_page_that_does_not_answer_slows_batches_down_until_it_does():
    pace = Pace()
    pace.acknowledge("page", pace.begin(0.0))
    for _ in range(UNACKNOWLEDGED_MAX + 1):
        newest = pace.begin(10.0)
    assert pace.due_s() > 10.0 + 2 / BATCHES_PER_S_MAX
    pace.acknowledge("page", newest)
    assert pace.due_s() == pytest.approx(10.0 + 1 / BATCHES_PER_S_MAX)


def test_a_page_that_is_gone_slows_nobody_down():
    pace = Pace()
    pace.acknowledge("gone", pace.begin(0.0))
    for _ in range(UNACKNOWLEDGED_MAX + 1):
        pace.begin(10.0)
    pace.keep_realms(frozenset({"new"}))
    assert pace.due_s() == pytest.approx(10.0 + 1 / BATCHES_PER_S_MAX)


def test_a_carrier_reaches_every_page_of_its_riders():
    both = Table("both", frozenset({"one", "two"}))
    one, two = Table("one", frozenset({"one"})), Table("two", frozenset({"two"}))
    three = Table("three", frozenset({"three"}))
    groups = {
        carrier.address: {each.address for each in riders}
        for carrier, riders in carriers([one, two, both, three])
    }
    assert groups == {"both": {"both", "one", "two"}, "three": {"three"}}
