"""Transcripts: what goes into a state machine of the protocol, and what comes out, line by line.

    input -> effect, effect

A line without an arrow has no effect. The words of the server's transcripts:

    connect | connect ts=7              Connect, with the newest timestamp the client has seen
    queries 0>1 +7 +8 -3                ModifyQuerySet: versions, queries added and removed
    mutation 0 | action 1               Mutation, Action, by request id
    auth 0 ann | auth 0 nobody          Authenticate: base version, whose token
    verified ann | refused | expired    what became of a token
    computed @5 7=a 8!boom [near]       an update at timestamp 5: query 7 is "a", query 8 fails;
                                        `near`: a mutation of this connection may be in it
    done 0 @5 | failed 0                how a mutation ended
    acted 1 | acted 1 @5 | act-failed 1 how an action ended; what it did can be seen at 5
    touched | sent | tick 15 | gone     a commit touched it; the transport took a message (the
                                        oldest untaken one); seconds on the clock; the peer left

and of its effects:

    compute +7 -3 as ann [anew]         bring the query set to the newest commit
    run 0 as ann | verify ann           run a mutation or action; check a token
    transition 0.0@0>1.0@5 7=a -3       versions are query set, identity, timestamp
    response 0 @5 | response 0 failed   of a mutation; `answer 1` of an action
    ping | fatal CODE | auth-error 0 update | close 1008
"""

from __future__ import annotations

from msgspec import Raw

from livedb.protocol.client import (
    Answered,
    AuthFailed,
    ClientEvent,
    ClientSession,
    Lost,
    Moved,
    Refused,
)
from livedb.protocol.codecs import JSON
from livedb.protocol.effects import (
    Close,
    Compute,
    Effect,
    Failure,
    QueryState,
    Run,
    Send,
    Success,
    Verify,
)
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
    ProtocolError,
    QueryFailed,
    QueryRemoved,
    QueryUpdated,
    Remove,
    ServerMessage,
    StateModification,
    Transition,
    Version,
)
from livedb.protocol.server import ServerConnection
from livedb.protocol.timestamps import decode_ts, encode_ts

NOBODY = "nobody"


class ServerTranscript:
    """Drives a `ServerConnection` by lines."""

    def __init__(self, *, newest_ts: int = 100) -> None:
        self.core = ServerConnection(JSON, newest_ts=newest_ts, now_s=0.0, identity=NOBODY)
        self.untaken: list[ServerMessage] = []
        self.now_s = 0.0

    def play(self, script: str) -> ServerTranscript:
        """Feed each line and compare its effects."""
        for line in filter(None, map(str.strip, script.splitlines())):
            step, _, expected = (part.strip() for part in line.partition("->"))
            found = ", ".join(self.step(step))
            assert found == expected, f"{step}\n  expected: {expected}\n  found:    {found}"
        return self

    def step(self, step: str) -> list[str]:
        """Feed one input; returns its effects in words."""
        effects = self._effects(*step.split())
        for effect in effects:
            if isinstance(effect, Send):
                self.untaken.append(effect.message)
        return [effect_words(effect) for effect in effects]

    def _effects(self, verb: str, *words: str) -> list[Effect]:
        core = self.core
        match verb:
            case "verified":
                return core.verified(words[0])
            case "refused":
                return core.refused("the token is not good")
            case "expired":
                return core.expired("the token is too old")
            case "computed":
                return self._computed(*words)
            case "done":
                ts = int(words[1].removeprefix("@")) if len(words) > 1 else None
                return core.mutation_done(int(words[0]), Success(Raw(b"1"), (), ts))
            case "failed":
                return core.mutation_done(int(words[0]), Failure("no"))
            case "acted":
                ts = int(words[1].removeprefix("@")) if len(words) > 1 else None
                return core.action_done(int(words[0]), Success(Raw(b"1"), (), ts))
            case "act-failed":
                return core.action_done(int(words[0]), Failure("no"))
            case "touched":
                return core.touched()
            case "sent":
                return core.sent(self.untaken.pop(0), now_s=self.now_s)
            case "tick":
                self.now_s = float(words[0])
                return core.tick(now_s=self.now_s)
            case "gone":
                core.close()
                return []
            case _:
                return core.receive(client_message(verb, *words))

    def _computed(self, at: str, *words: str) -> list[Effect]:
        is_near = "near" in words
        states = {}
        for word in words:
            if "=" in word:
                query_id, _, value = word.partition("=")
                outcome: Success | Failure = Success(Raw(value.encode()))
            elif "!" in word:
                query_id, _, value = word.partition("!")
                outcome = Failure(value)
            else:
                continue
            states[int(query_id)] = QueryState(value, outcome)
        ts = int(at.removeprefix("@"))
        return self.core.computed(ts, states, is_own_commit_near=is_near)


def client_message(verb: str, *words: str) -> ClientMessage:
    """A message of a client, from its words."""
    match verb:
        case "connect":
            observed = encode_ts(int(words[0].removeprefix("ts="))) if words else None
            return Connect(session_id="s", max_observed_timestamp=observed)
        case "queries":
            base, _, new = words[0].partition(">")
            modifications = [
                Add(query_id=int(word[1:]), udf_path="q", args=[Raw(b"{}")])
                if word[0] == "+"
                else Remove(query_id=int(word[1:]))
                for word in words[1:]
            ]
            return ModifyQuerySet(
                base_version=int(base), new_version=int(new), modifications=modifications
            )
        case "mutation":
            return Mutation(request_id=int(words[0]), udf_path="m", args=[Raw(b"{}")])
        case "action":
            return Action(request_id=int(words[0]), udf_path="a", args=[Raw(b"{}")])
        case "auth":
            token = None if words[1] == NOBODY else words[1]
            kind = "None" if token is None else "User"
            return Authenticate(base_version=int(words[0]), token_type=kind, value=token)
        case "event":
            return Event(event_type="ClientConnect")
    raise AssertionError(f"no such step: {verb}")


def effect_words(effect: Effect) -> str:
    match effect:
        case Send(message):
            return server_words(message)
        case Close(code):
            return f"close {code}"
        case Verify(request):
            return f"verify {request.value or NOBODY}"
        case Run(request=request, identity=identity):
            return f"run {request.request_id} as {identity}"
        case Compute(added, removed, identity, is_identity_new):
            words = [f"+{each.query_id}" for each in added]
            words += [f"-{query_id}" for query_id in removed]
            return " ".join(["compute", *words, "as", identity, *["anew"] * is_identity_new])


def server_words(message: ServerMessage) -> str:
    """A message of the server in words."""
    match message:
        case Transition():
            versions = f"{_version(message.start_version)}>{_version(message.end_version)}"
            return " ".join(["transition", versions, *map(_modification, message.modifications)])
        case MutationResponse(request_id=request_id, success=False):
            return f"response {request_id} failed"
        case MutationResponse(request_id=request_id, ts=ts):
            return f"response {request_id} @{decode_ts(ts)}"
        case ActionResponse(request_id=request_id, success=success):
            return f"answer {request_id}" + ("" if success else " failed")
        case AuthError(base_version=version, auth_update_attempted=is_update):
            return f"auth-error {version}" + (" update" if is_update else "")
        case FatalError(error=error):
            return f"fatal {error.partition(':')[0]}"
        case Ping():
            return "ping"
    raise AssertionError(f"no words for {message}")


def _version(version: Version) -> str:
    return f"{version.query_set}.{version.identity}@{decode_ts(version.ts)}"


def _modification(each: StateModification) -> str:
    match each:
        case QueryUpdated(query_id=query_id, value=value):
            return f"{query_id}={bytes(value).decode()}"
        case QueryFailed(query_id=query_id, error_message=error):
            return f"{query_id}!{error}"
        case QueryRemoved(query_id=query_id):
            return f"-{query_id}"


# -- the client's end ------------------------------------------------------------------------------


class ClientTranscript:
    """Drives a `ClientSession` by lines: what is wanted and what arrives, as the server says it.

    up | down | follow | unfollow 0 | mutate | act | act again | forget 0 | auth ann
    transition 0.0@0>1.0@5 0=a | response 0 @5 | answer 1 | ping | auth-error | fatal
    """

    def __init__(self) -> None:
        self.session = ClientSession(JSON, session_id="s")

    def play(self, script: str) -> ClientTranscript:
        for line in filter(None, map(str.strip, script.splitlines())):
            step, _, expected = (part.strip() for part in line.partition("->"))
            found = ", ".join(self.step(step))
            assert found == expected, f"{step}\n  expected: {expected}\n  found:    {found}"
        return self

    def step(self, step: str) -> list[str]:
        verb, *words = step.split()
        session, nothing = self.session, Raw(b"{}")
        match verb:
            case "up":
                return [client_words(each) for each in session.connected()]
            case "down":
                return [event_words(each) for each in session.disconnected("cut")]
            case "follow":
                sent = session.follow("q", nothing)[1]
            case "unfollow":
                sent = session.unfollow(int(words[0]))
            case "mutate":
                sent = session.mutate("m", nothing)[1]
            case "act":
                sent = session.act("a", nothing, is_repeatable=words == ["again"])[1]
            case "forget":
                session.forget(int(words[0]))
                sent = []
            case "auth":
                sent = session.authenticate("User", words[0])
            case _:
                try:
                    events = session.receive(server_message(verb, *words))
                except ProtocolError as error:
                    return [f"refused: {error.code}"]
                return [event_words(each) for each in events]
        return [client_words(each) for each in sent]


def server_message(verb: str, *words: str) -> ServerMessage:
    """A message of the server, from its words."""
    match verb:
        case "transition":
            start, _, end = words[0].partition(">")
            return Transition(
                start_version=_version_of(start),
                end_version=_version_of(end),
                modifications=[_modification_of(word) for word in words[1:]],
            )
        case "response":
            is_good = words[1] != "failed"
            return MutationResponse(
                request_id=int(words[0]),
                success=is_good,
                result=Raw(b"1"),
                ts=encode_ts(int(words[1].removeprefix("@"))) if is_good else None,
            )
        case "answer":
            is_good = words[1:] != ("failed",)
            return ActionResponse(request_id=int(words[0]), success=is_good, result=Raw(b"1"))
        case "auth-error":
            return AuthError(error="no", base_version=0, auth_update_attempted=True)
        case "fatal":
            return FatalError(error="no")
        case "ping":
            return Ping()
    raise AssertionError(f"no such step: {verb}")


def _version_of(words: str) -> Version:
    query_set, _, rest = words.partition(".")
    identity, _, ts = rest.partition("@")
    return Version(query_set=int(query_set), identity=int(identity), ts=encode_ts(int(ts)))


def _modification_of(word: str) -> StateModification:
    if word.startswith("-"):
        return QueryRemoved(query_id=int(word[1:]))
    if "!" in word:
        query_id, _, error = word.partition("!")
        return QueryFailed(query_id=int(query_id), error_message=error)
    query_id, _, value = word.partition("=")
    value, _, journal = value.partition("/")
    return QueryUpdated(query_id=int(query_id), value=Raw(value.encode()), journal=journal or None)


def client_words(message: ClientMessage) -> str:
    """A message of the client in words."""
    match message:
        case Connect():
            seen = message.max_observed_timestamp
            words = [f"connect {message.connection_count} {message.last_close_reason}"]
            return " ".join([*words, *([] if seen is None else [f"ts={decode_ts(seen)}"])])
        case ModifyQuerySet():
            words = [f"queries {message.base_version}>{message.new_version}"]
            for each in message.modifications:
                if isinstance(each, Add):
                    journal = "" if each.journal is None else f"/{each.journal}"
                    words.append(f"+{each.query_id}{journal}")
                else:
                    words.append(f"-{each.query_id}")
            return " ".join(words)
        case Mutation(request_id=request_id):
            return f"mutation {request_id}"
        case Action(request_id=request_id):
            return f"action {request_id}"
        case Authenticate():
            return f"auth {message.base_version} {message.value or NOBODY}"
    raise AssertionError(f"no words for {message}")


def event_words(event: ClientEvent) -> str:
    match event:
        case Moved(ts=ts, changes=changes):
            return " ".join([f"at {ts}", *map(_modification, changes)])
        case Answered(request_id, response):
            return f"answered {request_id}" + ("" if response.success else " failed")
        case Lost(request_id):
            return f"lost {request_id}"
        case AuthFailed():
            return "auth failed"
        case Refused():
            return "refused for good"
