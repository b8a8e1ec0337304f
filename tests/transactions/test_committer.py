"""The committer: one order of commits, answered when durable, undone when the log fails."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest

import livedb
from livedb.clock import SystemClock
from livedb.commitlog.memory import MemoryCommitLog
from livedb.errors import ClosedError, ConflictError, LogError
from livedb.limits import Limits
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.tables import TableDefinition
from livedb.store.backlog import Backlog
from livedb.store.contract import StoredDocument, Write
from livedb.store.rows import RowStore
from livedb.transactions.commit_request import CommitDetails, CommitRequest
from livedb.transactions.committer import Committer
from livedb.transactions.reads import ReadSet, WriteSet
from livedb.transactions.turn import Turn

TABLE = 10_001
TEXT = b"\x00{}"


class FailingLog(MemoryCommitLog):
    """Fails while `is_failing`, or with `fault`; waits before an append while `gate` is held."""

    def __init__(self):
        super().__init__()
        self.is_failing = False
        self.fault = None
        self.gate = threading.Lock()
        self.is_entered = threading.Event()

    def append(self, commits):
        self.is_entered.set()
        with self.gate:
            if self.is_failing:
                raise LogError("the disk is full", code="DiskFull")
            if self.fault is not None:
                raise self.fault
            return super().append(commits)


class World:
    def __init__(self, *, is_volatile=False):
        clock = SystemClock()
        self.log = FailingLog()
        self.backlog = Backlog(0)
        self.store = RowStore(
            load=lambda table: pytest.fail("nothing is loaded"),
            indexes_of=lambda table: (),
            estimate_bytes=lambda table: 0,
            backlog=self.backlog,
            limits=Limits(),
        )
        self.store.create(TABLE, 0)
        self.published = []
        self.committer = Committer(
            log=self.log,
            store=self.store,
            backlog=self.backlog,
            catalogs=[(0, Catalog().with_table(0, CatalogTable(TABLE, TableDefinition("t"))))],
            turn=Turn(clock, turn_ms_max=50),
            clock=clock,
            log_deadline_s=30,
            publish=self.publish,
            is_volatile=is_volatile,
        )

    def publish(self, batch):
        self.published.extend(each.number for each in batch)

    def request(self, document, *, reads=(), begin=None, epoch=None, mutation_id=None):
        number, now, _ = self.committer.begin()
        read = ReadSet()
        read.points.update((TABLE, each) for each in reads)
        stored = StoredDocument(1.0, TEXT)
        return CommitRequest(
            begin=number if begin is None else begin,
            epoch=now if epoch is None else epoch,
            reads=read,
            change=WriteSet((Write(TABLE, document, None, stored),), frozenset(), frozenset()),
            catalog=None,
            details=CommitDetails(mutation_id=mutation_id),
        )

    def commit(self, document, **options):
        request = self.request(document, **options)
        self.committer.submit(request)
        return self.outcome(request)

    @staticmethod
    def outcome(request):
        assert request.done.acquire(timeout=20)
        if request.error is not None:
            raise request.error
        return request.number

    def documents(self, number):
        found = self.store.scan(TABLE, "by_id", b"", None, number=number)
        return sorted(entry.id for block in found for entry in block.entries())


@pytest.fixture
def world():
    made = World()
    yield made
    made.committer.close()


# Ids as the row store asks for them.
A, B, C = (livedb.ids.encode_id(TABLE, bytes([n]) * 16) for n in (1, 2, 3))


def test_commits_are_numbered_published_and_answered_in_order(world):
    assert [world.commit(each) for each in (A, B, C)] == [1, 2, 3]
    assert world.published == [1, 2, 3]
    assert world.committer.published == world.committer.durable == world.committer.applied == 3
    assert [commit.number for commit in world.log.read(after=0)] == [1, 2, 3]
    assert world.log.head.chain == world.log.head.chain


def test_what_is_not_durable_is_not_published(world):
    with world.log.gate:
        request = world.request(A)
        world.committer.submit(request)
        waited = threading.Event()
        waited.wait(0.05)
        assert world.committer.published == 0
        assert request.done.locked()
    assert world.outcome(request) == 1
    assert world.committer.published == 1


def test_a_stale_read_is_refused_and_names_what_changed(world):
    late = world.request(B, reads=[A])
    world.commit(A)
    world.committer.submit(late)
    with pytest.raises(ConflictError, match="'t' table changed") as caught:
        world.outcome(late)
    assert (caught.value.table, caught.value.index, caught.value.number) == ("t", "by_id", 1)
    blind = world.request(C, begin=0)
    world.committer.submit(blind)
    assert world.outcome(blind) == 2


def test_a_request_from_before_the_write_log_is_refused(world):
    world.commit(A)
    world.commit(B)
    world.committer.release(1, folded=1)
    old = world.request(C, begin=0)
    world.committer.submit(old)
    with pytest.raises(ConflictError, match="longer than the write log"):
        world.outcome(old)


def test_when_the_log_fails_everything_above_durable_is_undone(world):
    world.commit(A)
    world.log.is_failing = True
    with world.log.gate:
        requests = [world.request(B), world.request(C)]
        for request in requests:
            world.committer.submit(request)
        deadline = threading.Event()
        while world.committer.applied < 3 and not deadline.wait(0.001):
            pass
        on_top = world.request(A, epoch=world.committer.epoch)
    errors = []
    for request in requests:
        try:
            world.outcome(request)
        except (LogError, ConflictError) as error:
            errors.append(error)
    assert len(errors) == 2
    assert isinstance(errors[0], LogError)
    assert errors[0].code == "DiskFull"
    assert world.committer.applied == world.committer.published == 1
    assert world.documents(1) == [A]
    world.committer.submit(on_top)
    with pytest.raises(ConflictError, match="undone"):
        world.outcome(on_top)
    world.log.is_failing = False
    assert world.commit(B) == 2
    assert world.documents(2) == sorted([A, B])
    assert world.published == [1, 2]


def test_a_mutation_id_is_given_to_one_commit(world):
    first, second = world.request(A, mutation_id="s:1"), world.request(B, mutation_id="s:1")
    for request in (first, second):
        world.committer.submit(request)
    assert world.outcome(first) == 1
    with pytest.raises(ConflictError, match="same mutation id"):
        world.outcome(second)
    # Also after the first one was published: who began before cannot have found it in the log.
    late = world.request(B, mutation_id="s:1", begin=0)
    world.committer.submit(late)
    with pytest.raises(ConflictError, match="same mutation id"):
        world.outcome(late)
    assert world.commit(B, mutation_id="s:2") == 2


def test_a_request_is_claimed_by_its_committer_or_its_caller(world):
    given_up = world.request(A)
    assert given_up.cancel()
    world.committer.submit(given_up)
    assert world.commit(B) == 1
    assert world.documents(1) == [B]
    assert given_up.done.locked()


def test_an_empty_request_waits_for_what_it_read(world):
    with world.log.gate:
        first = world.request(A)
        world.committer.submit(first)
        while world.committer.applied < 1:
            pass
        number, epoch, _ = world.committer.begin()
        empty = CommitRequest.empty(begin=number, epoch=epoch)
        world.committer.submit(empty)
        assert empty.done.locked()
    assert world.outcome(empty) in (0, 1)
    assert world.committer.published == 1
    assert world.log.head.number == 1


def test_commits_of_many_threads_have_one_dense_order(world):
    ids = [livedb.ids.encode_id(TABLE, n.to_bytes(16, "big")) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(world.commit, ids))
    assert sorted(numbers) == list(range(1, 201))
    assert world.published == list(range(1, 201))
    assert world.documents(200) == sorted(ids)


def test_after_closing_requests_are_refused(world):
    world.commit(A)
    world.committer.close()
    request = world.request(B)
    threading.Thread(target=world.committer.submit, args=(request,)).start()
    with pytest.raises(ClosedError):
        world.outcome(request)


def fail_append(world):
    world.log.fault = ZeroDivisionError("a bug")


def fail_publish(world):
    def publish(batch):
        raise ZeroDivisionError("a bug")

    world.committer._publish = publish


def fail_on_publish(world):
    """Of the next request made."""
    make = world.request

    def request(*args, **options):
        made = make(*args, **options)
        made.on_publish = lambda number: 1 // 0
        return made

    world.request = request


FAULTS = [fail_append, fail_publish, fail_on_publish]


@pytest.mark.parametrize("fail", FAULTS)
def test_after_a_bug_on_the_log_writers_thread_everybody_is_answered(world, fail, caplog):
    world.commit(A)
    fail(world)
    world.log.is_entered.clear()
    with world.log.gate:
        requests = [world.request(B)]
        world.committer.submit(requests[0])
        assert world.log.is_entered.wait(20)  # the first is being appended, alone
        requests += [world.request(C), world.request(A, mutation_id="s:1")]
        requests.append(CommitRequest.empty(begin=2, epoch=0))
        for request in requests[1:]:
            world.committer.submit(request)
    with pytest.raises(LogError, match=r"ZeroDivisionError.*whether it is kept") as unknown:
        world.outcome(requests[0])
    assert unknown.value.code == "LogUnknown"
    assert isinstance(unknown.value.__cause__, ZeroDivisionError)
    late = world.request(C)
    world.committer.submit(late)
    for request in (*requests[1:], late):
        with pytest.raises(ClosedError, match=r"stopped taking writes.*ZeroDivisionError"):
            world.outcome(request)
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert world.committer.published in (1, world.log.head.number)
    assert world.documents(1) == [A]
    world.committer.close()
    assert not world.committer._writer.is_alive()


@pytest.mark.parametrize("fail", FAULTS)
def test_after_a_bug_while_a_caller_writes_the_log_itself_everybody_is_answered(world, fail):
    world.commit(A)
    fail(world)
    for error, document in ((LogError, B), (ClosedError, C), (ClosedError, B)):
        with pytest.raises(error):
            world.committer.commit(world.request(document))
    assert world.documents(1) == [A]


@pytest.mark.parametrize("fail", FAULTS)
def test_after_a_bug_in_the_commit_step_in_memory_nothing_is_committed(fail, caplog):
    world = World(is_volatile=True)
    world.commit(A)
    fail(world)
    for document in (B, C):
        with pytest.raises(ClosedError, match=r"stopped taking writes.*ZeroDivisionError"):
            world.commit(document)
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert world.documents(1) == [A]
    world.committer.close()


class Told:
    """A reply that keeps what it was told."""

    def __init__(self):
        self.batches = SimpleQueue()

    def __call__(self, requests):
        self.batches.put([(each.about, each.number, each.error) for each in requests])

    def next(self):
        return self.batches.get(timeout=20)


def test_who_handed_over_is_told_of_a_batch_in_one_piece_and_in_order(world):
    told = Told()
    with world.log.gate:
        world.committer.hand_over(world.request(A), told, "first", is_last=False)
        assert world.log.is_entered.wait(20)
        for about in ("second", "third", "fourth"):
            world.committer.hand_over(world.request(B), told, about, is_last=True)
        assert told.batches.empty(), "nothing is durable"
    assert told.next() == [("first", 1, None)]
    assert told.next() == [("second", 2, None), ("third", 3, None), ("fourth", 4, None)]
    assert world.published == [1, 2, 3, 4]


def test_who_hands_over_its_last_one_writes_it_and_is_told_before_it_goes_on(world):
    told = Told()
    world.committer.hand_over(world.request(A), told, "alone", is_last=True)
    assert told.batches.get_nowait() == [("alone", 1, None)]


def test_callers_that_wait_and_who_handed_over_share_a_batch(world):
    told, waiting = Told(), []
    with world.log.gate:
        world.committer.hand_over(world.request(A), told, 1, is_last=False)
        assert world.log.is_entered.wait(20)
        for number in (2, 3):
            waiting.append(world.request(B))
            waiting[-1].stand_in_line()
            world.committer.submit(waiting[-1])
            world.committer.hand_over(world.request(C), told, number, is_last=False)
    assert [world.outcome(each) for each in waiting[:1]] == [2]
    assert [[about for about, *_ in told.next()] for _ in range(2)] == [[1], [2, 3]]


def test_what_the_commit_step_refuses_is_raised_and_nobody_is_told(world):
    told = Told()
    stale = world.request(A, reads=[A])
    world.commit(A)
    with pytest.raises(ConflictError):
        world.committer.hand_over(stale, told, "stale", is_last=True)
    world.committer.close()
    with pytest.raises(ClosedError):
        world.committer.hand_over(world.request(B), told, "late", is_last=True)
    assert told.batches.empty()


def test_who_handed_over_is_told_what_the_log_failed_for_and_what_was_undone(world):
    told = Told()
    with world.log.gate:
        world.committer.hand_over(world.request(A), told, "failed", is_last=False)
        assert world.log.is_entered.wait(20)
        world.committer.hand_over(world.request(B), told, "undone", is_last=False)
        world.log.is_failing = True
    outcomes = [told.next(), told.next()]
    assert [(about, type(error)) for [(about, _, error)] in outcomes] == [
        ("failed", LogError),
        ("undone", ConflictError),
    ]
    assert world.documents(0) == []


@pytest.mark.parametrize("fail", FAULTS)
@pytest.mark.parametrize("is_last", [True, False])
def test_after_a_bug_while_the_log_is_written_who_handed_over_is_told(world, fail, is_last):
    told = Told()
    fail(world)
    world.committer.hand_over(world.request(A), told, "unknown", is_last=is_last)
    [(about, _, error)] = told.next()
    assert (about, error.code) == ("unknown", "LogUnknown")
    with pytest.raises(ClosedError):
        world.committer.hand_over(world.request(B), told, "late", is_last=is_last)


def test_in_memory_who_hands_over_is_told_within_the_commit_step():
    world, told = World(is_volatile=True), Told()
    world.committer.hand_over(world.request(A), told, "now", is_last=False)
    assert told.batches.get_nowait() == [("now", 1, None)]
    world.log.is_failing = True
    world.committer.hand_over(world.request(B), told, "failed", is_last=False)
    assert isinstance(told.batches.get_nowait()[0][2], LogError)
    world.committer.close()


def test_timestamps_grow_whatever_the_clock_says(world):
    for document in (A, B, C):
        world.commit(document)
    stamps = [commit.ts for commit in world.log.read(after=0)]
    assert stamps == sorted(set(stamps))
