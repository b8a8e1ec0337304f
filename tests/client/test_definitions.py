"""What a kernel has defined on a service is there again when the service is: newest wins."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import livedb
from livedb.auth.access import Role
from livedb.client import connection
from livedb.errors import ArgumentValidationError
from tests.client.cutting import Proxy
from tests.conftest import connected
from tests.waiting import until


class Service:
    """A service in a process of its own, that can be killed and started again."""

    def __init__(self, folder, functions=None):
        self._folder = folder
        self._functions = functions
        self.child, self.port = None, 0
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        script = Path(__file__).parent / "service_child.py"
        more = [] if self._functions is None else [str(self._functions)]
        command = [sys.executable, str(script), str(self._folder), str(self.port), *more]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.child.stdout.readline())

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.communicate()


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S_MAX", 60)  # the child may start slowly
    started = []

    def begin(functions=None):
        started.append(Service(tmp_path / "w", functions))
        return started[-1]

    yield begin
    for each in started:
        each.kill()


def define_total(db, factor):
    """What a notebook's cells do; two notebooks may do it with factors of their own."""

    @db.query
    def total(ctx) -> int:
        return factor * sum(row.n for row in ctx.db.query("numbers").collect())

    return total


def known(db):
    """What the service has by the name `total`, called as anybody would."""
    return db.function("total")()


def test_functions_tables_and_handles_go_on_when_the_service_was_started_anew(start):
    service = start()
    with livedb.connect(service.url) as db:

        @db.table("numbers")
        class Number:
            n: int

        @db.mutation
        def add(ctx, n: int) -> None:
            ctx.db.insert(Number, {"n": n})

        total = define_total(db, 1)
        handle = total.live()
        add(n=1)
        service.kill()
        until(lambda: db.status.state == "reconnecting")
        called = []
        waiting = threading.Thread(target=lambda: called.append(add(n=2)))
        waiting.start()
        service.start()
        waiting.join(60)
        assert called == [None]
        assert (handle.value, total(), handle.error) == (3, 3, None)
        assert db.functions == ["add", "total"]
        assert db["numbers"].schema.fields.keys() == {"n"}
        service.kill()
        service.start()
        add(n=3)
        assert handle.value == 6


def test_of_two_kernels_the_later_definition_holds_whoever_comes_back_first(start):
    service = start()
    with Proxy(service.port) as way, livedb.connect(way.url) as earlier:
        define_total(earlier, 10)
        with Proxy(service.port) as other_way, livedb.connect(other_way.url) as later:
            later["numbers"].insert({"n": 1})
            define_total(later, 20)
            assert (known(earlier), known(later)) == (20, 20)
            for first, second in ((way, other_way), (other_way, way)):
                back = {way: earlier, other_way: later}
                second.is_down = True
                service.kill()
                service.start()
                first.cut()
                until(lambda db=back[first]: db.status.state == "connected")
                assert known(back[first]) == (10 if first is way else 20)
                until(lambda db=back[second]: db.status.state == "reconnecting")
                second.is_down = False
                # By itself, and then: what it has brought is there once its own calls are answered.
                assert known(back[second]) == 20
                assert (known(earlier), known(later)) == (20, 20)
            versions = later.backend._definitions._service_versions["total"]
            for each in (way, other_way):  # nobody takes it from the other
                each.cut()
            until(lambda: later.status.state == earlier.status.state == "connected")
            assert (known(earlier), known(later)) == (20, 20)
            assert later.backend._definitions._service_versions["total"] == versions


def test_a_function_defined_on_the_service_meanwhile_is_not_replaced(start, tmp_path):
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "sums.py").write_text(
        "import livedb\n\n@livedb.query\ndef total(ctx) -> int:\n    return 1\n"
    )
    service = start(folder)
    with livedb.connect(service.url) as db:

        @db.query(name="sums:total")
        def total(ctx) -> int:
            return 2

        assert db.function("sums:total")() == 2
        service.kill()
        service.start()
        until(lambda: db.function("sums:total")() == 1)
        assert total() == 1


def test_pushed_functions_come_back_and_are_logged_again(start):
    from tests.client import pushed_module

    service = start()
    with livedb.connect(service.url) as db:
        db.push(pushed_module)
        name = "tests/client/pushed_module:one"
        assert db.function(name)() == 1
        number = db.number
        service.kill()
        service.start()
        assert db.function(name)() == 1
        assert db.number == number + 1


def test_what_others_defined_is_gone_with_them(start):
    service = start()
    with livedb.connect(service.url) as db:
        define_total(db, 1)
        with livedb.connect(service.url) as other:

            @other.query
            def theirs(ctx) -> int:
                return 1

            assert db.functions == ["theirs", "total"]
        service.kill()
        service.start()
        until(lambda: db.status.state == "connected")
        assert db.functions == ["total"]


def test_a_function_that_cannot_come_back_is_told_and_keeps_nothing_up(start, caplog):
    service = start()
    with livedb.connect(service.url) as db:
        total = define_total(db, 1)

        @db.query
        def broken(ctx) -> int:
            return 1

        sent = db.backend._definitions._sent
        sent["broken"] = type(sent["broken"])(
            **{
                name: getattr(sent["broken"], name) if name != "parcel" else b"\xc1"
                for name in sent["broken"].__slots__
            }
        )
        service.kill()
        service.start()
        assert total() == 0
        with pytest.raises(livedb.FunctionNotFoundError):
            broken()
        assert "broken cannot be defined on the service again" in caplog.text


def test_refused_arguments_of_a_function_that_somebody_else_redefined_say_so():
    def define(db):
        @db.query
        def doubled(ctx, n: int) -> int:
            return 2 * n

        return doubled

    with livedb.open() as served, connected(served) as ann, connected(served) as ben:
        for mine, other in ((ann, ben), (served, ben), (ben, served)):
            doubled = define(mine)
            with pytest.raises(ArgumentValidationError) as plain:
                doubled(m=1)
            assert "defined anew" not in str(plain.value)

            @other.query(name="doubled")
            def renamed(ctx, number: int) -> int:
                return 2 * number

            for call in (doubled, doubled.live, lambda n, f=doubled: asyncio.run(f.aio(n=n))):
                with pytest.raises(ArgumentValidationError) as refused:
                    call(n=1)
                assert (
                    "doubled was defined anew since, by another kernel or another cell: it takes "
                    "(number: int) -> int now, and this one took (n: int) -> int."
                ) in str(refused.value)
                assert refused.value.message == str(refused.value)


@pytest.mark.parametrize(
    "role, sees", [(Role.VIEWER, False), (Role.MEMBER, False), (Role.EDITOR, True)]
)
def test_of_internal_functions_only_those_learn_who_may_call_them(tmp_path, role, sees):
    with livedb.open(tmp_path / "work") as served:

        @served.query(internal=True)
        def secret(ctx):
            return "secret"

        @served.query
        def secrets(ctx):
            return "open"

        with connected(served, role) as db:
            assert db.functions == (["secret", "secrets"] if sees else ["secrets"])
            assert db.function("secrets")() == "open"
            if sees:
                assert db.function("secret")() == "secret"
                return
            with pytest.raises(livedb.FunctionNotFoundError):
                db.function("secret")
            asked = {"name": "secret", "args": {}}
            with pytest.raises(livedb.FunctionNotFoundError, match="Could not find public"):
                db.backend._verbs.act("call", asked)
