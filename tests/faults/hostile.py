"""Frames that no honest client sends: valid ones damaged, nonsense, and what breaks parsers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec
from msgspec import Raw

from livedb.protocol.codecs import JSON, PACK, Codec, Frame
from livedb.protocol.messages import (
    Action,
    ActionResponse,
    Add,
    Authenticate,
    AuthError,
    ClientMessage,
    Connect,
    Event,
    FatalError,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    Ping,
    QueryFailed,
    QueryRemoved,
    QueryUpdated,
    Remove,
    ServerMessage,
    Transition,
    Version,
)
from livedb.protocol.results import Rows, write_rows, write_value
from livedb.protocol.timestamps import encode_ts
from livedb.text import encode_value

NUMBERS = (
    "NaN", "Infinity", "-Infinity", "1e400", "-0", "-0.0", "9223372036854775808",
    "-9223372036854775809", "9007199254740993", "9" * 400, "1e-400", "4294967296", "-1", "0x10",
    "1.5", "01", "null", "true", '"7"', "[]", "{}", "{}{}",
)  # fmt: skip
TEXTS = (
    '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"__proto__"', '"$integer"', '"_id"', '""',
    '"' + "a" * 5_000 + '"', '"../../x"', '"\\x"', '"\\u12"', "'a'", '"\u202e"',
)  # fmt: skip
VALUES = (
    '{"$integer":"AAAAAAAAAAA="}', '{"$integer":"AA="}', '{"$integer":7}', '{"$float":1}',
    '{"$float":"AAAAAAAA8H8="}', '{"$bytes":"*"}', '{"$set":[]}', '{"$commitTs":null}',
    '{"a":1,"a":2}', '{"\\ud800":1}',
)  # fmt: skip


def client_messages(codec: Codec) -> list[ClientMessage]:
    """One of each kind, and some values."""
    given = [codec.write({"text": "ä", "number": 1.5, "deep": [{"a": [None, True]}]})]
    return [
        Connect(session_id="s", connection_count=1, client_ts=1.5),
        Connect(session_id="s", max_observed_timestamp="AAAAAAAAAAA="),
        ModifyQuerySet(base_version=0, new_version=1, modifications=[]),
        ModifyQuerySet(
            base_version=0,
            new_version=1,
            modifications=[
                Add(query_id=0, udf_path="cells:notes", args=given, journal="j"),
                Add(query_id=1, udf_path="../../x\0", args=given, component_path="livedb"),
                Remove(query_id=0),
            ],
        ),
        Mutation(request_id=0, udf_path="cells:note", args=given),
        Mutation(request_id=1, udf_path="describe", args=given, component_path="livedb"),
        Action(request_id=2, udf_path="_system/cli/tables", args=given),
        Action(request_id=3, udf_path="table", args=given, component_path="livedb"),
        Authenticate(base_version=0, token_type="User", value="e30.e30."),
        Authenticate(base_version=0, token_type="None"),
        Authenticate(base_version=0, token_type="Admin", value="key:e30="),
        Event(event_type="ClientConnect"),
    ]


def server_messages(codec: Codec) -> list[ServerMessage]:
    """One of each kind; results as livedb's own client gets them."""
    rows = Rows(("a", "b"), (b'{"x":1}', b'{"x":2}'))
    results = [codec.write({"x": 1})]
    if codec is PACK:
        results += [
            write_rows(rows, None, 7),
            write_rows(Rows(("b", "c"), rows.texts), rows, 8),
            write_value(b"1", 7),
        ]
    return [
        *(
            Transition(
                start_version=Version(),
                end_version=Version(query_set=1, ts=encode_ts(9)),
                modifications=[QueryUpdated(query_id=0, value=each, journal="j")],
                number=9,
            )
            for each in results
        ),
        Transition(
            start_version=Version(),
            end_version=Version(query_set=1, ts=encode_ts(9)),
            modifications=[
                QueryFailed(query_id=0, error_message="no", error_data=codec.write(None)),
                QueryRemoved(query_id=1),
            ],
        ),
        MutationResponse(request_id=0, success=True, result=codec.write(1), ts=encode_ts(9)),
        MutationResponse(request_id=0, success=False, result=codec.write("no"), ts=None),
        ActionResponse(request_id=0, success=True, result=codec.write(1)),
        AuthError(error="no", base_version=0, auth_update_attempted=True),
        FatalError(error="no"),
        Ping(),
    ]


class Hostile:
    """Makes frames for one codec, from a seed and from what an honest peer would send."""

    def __init__(
        self, codec: Codec, seed: int, honest: Sequence[ClientMessage | ServerMessage]
    ) -> None:
        self.random = Random(seed)
        self.valid: Sequence[Frame] = [codec.encode(each) for each in honest]
        self._kinds: Sequence[Callable[[], Frame]] = (
            self.json_kinds() if codec is JSON else self.pack_kinds()
        )

    def frame(self) -> Frame:
        """The next one."""
        return self.random.choice(self._kinds)()

    def json_kinds(self) -> Sequence[Callable[[], Frame]]:
        return (self.damaged_text, self.replaced_text, self.random_json, self.deep_json)

    def pack_kinds(self) -> Sequence[Callable[[], Frame]]:
        return (self.damaged, self.random_bytes, self.random_pack, self.deep_pack)

    # -- damage --------------------------------------------------------------------------------

    def damaged(self) -> bytes:
        """A valid frame with bytes changed, left out, doubled or cut off."""
        random = self.random
        chosen = random.choice(self.valid)
        data = bytearray(chosen.encode() if isinstance(chosen, str) else chosen)
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(len(data) + 1)
            match random.randrange(5):
                case 0 if at < len(data):
                    data[at] = random.randrange(256)
                case 1:
                    del data[at : at + random.randrange(1, 9)]
                case 2:
                    data[at:at] = random.randbytes(random.randrange(1, 9))
                case 3:
                    del data[at:]
                case _:
                    start = random.randrange(len(data) + 1)
                    data[at:at] = data[start : start + random.randrange(40)]
        return bytes(data)

    def damaged_text(self) -> str:
        return self.damaged().decode(errors="replace")

    def replaced_text(self) -> str:
        """A valid text in which one token is another one."""
        random = self.random
        chosen = random.choice(self.valid)
        assert isinstance(chosen, str)
        marks = [at for at, mark in enumerate(chosen) if mark in ",:]}"]
        start = random.randrange(len(marks) - 1)
        token = random.choice(random.choice((NUMBERS, TEXTS, VALUES)))
        return chosen[: marks[start] + 1] + token + chosen[marks[start + 1] :]

    # -- nonsense ------------------------------------------------------------------------------

    def random_value(self, depth: int = 0) -> Any:
        random = self.random
        match random.randrange(8 if depth < 5 else 6):
            case 0:
                return random.choice([None, True, False])
            case 1:
                return random.choice([0, -1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, -(2**63)])
            case 2:
                return random.choice([0.0, -0.0, 1.5, 1e308, 5e-324])
            case 3 | 4 | 5:
                return random.choice(["", "Connect", "Mutation", "\0", "ä", "$integer", "a" * 300])
            case 6:
                return [self.random_value(depth + 1) for _ in range(random.randrange(4))]
            case _:
                names = ("type", "requestId", "args", "udfPath", "sessionId", "x", "$float", "")
                chosen = random.sample(names, random.randrange(len(names)))
                return {name: self.random_value(depth + 1) for name in chosen}

    def random_message(self) -> Any:
        """A map that has a known type, and anything in its fields."""
        kinds = (
            "Connect", "ModifyQuerySet", "Mutation", "Action", "Authenticate", "Event", "X",
            "Transition", "MutationResponse", "ActionResponse", "FatalError",
        )  # fmt: skip
        value = self.random_value(3)
        fields = value if isinstance(value, dict) else {}
        names = ("sessionId", "baseVersion", "newVersion", "requestId", "udfPath", "args", "value")
        fields |= {name: self.random_value(2) for name in names if self.random.random() < 0.7}
        return {**fields, "type": self.random.choice(kinds)}

    def random_json(self) -> str:
        return msgspec.json.encode(
            self.random.choice((self.random_value, self.random_message))()
        ).decode()

    def random_pack(self) -> bytes:
        return msgspec.msgpack.encode(
            self.random.choice((self.random_value, self.random_message))()
        )

    def random_bytes(self) -> bytes:
        return self.random.randbytes(self.random.randrange(60))

    # -- depth ---------------------------------------------------------------------------------

    def deep_json(self) -> str:
        levels = self.random.choice((63, 64, 65, 500, 990, 3_000, 100_000))
        head, tail = self.random.choice((("[", "]"), ('{"a":', "}")))
        deep = f"{head * levels}1{tail * levels}"
        return self.random.choice((
            deep,
            f'{{"type":"Mutation","requestId":1,"udfPath":"cells:note","args":[{deep}]}}',
            f'{{"type":"Event","eventType":"x","event":{deep}}}',
        ))  # fmt: skip

    def deep_pack(self) -> bytes:
        levels = self.random.choice((63, 65, 500, 990, 3_000, 100_000))
        deep = b"\x91" * levels + b"\xc0"
        text = b"[" * levels + b"]" * levels
        return self.random.choice((
            deep,
            PACK.encode(Mutation(request_id=1, udf_path="cells:note", args=[Raw(deep)])),
            PACK.encode(
                Mutation(request_id=1, udf_path="cells:note", args=[PACK.write_payload(text)])
            ),
            PACK.encode(
                Mutation(
                    request_id=1,
                    udf_path="cells:note",
                    args=[PACK.write_payload(encode_value({"text": "x"})[:-2])],
                )
            ),
        ))  # fmt: skip
