"""What Convex's PyPI client does against a service: run as a process, reports one line of JSON."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from urllib.request import Request, urlopen

from convex import ConvexClient, ConvexError, ConvexInt64
from convex.http_client import ConvexHttpClient


def raised(call, *args):
    """What a call raised: its class, text and data."""
    try:
        call(*args)
    except ConvexError as error:
        return ["ConvexError", str(error), error.data]
    except Exception as error:  # noqa: BLE001  # it is reported
        return [type(error).__name__, str(error), None]
    return None


def basics(url):
    """Query, mutate, subscribe, act, and read what was written."""
    client = ConvexClient(url)
    before = client.query("tasks:titles", {"user": "ada"})
    client.mutation("tasks:add", {"title": "one", "user": "ada", "n": 3})
    subscription = client.subscribe("tasks:titles", {"user": "ada"})
    first = next(subscription)
    client.mutation("tasks:add", {"title": "two", "user": "ada"})
    second = next(subscription)
    subscription.unsubscribe()
    done = client.action("tasks:work", {"user": "ada"})
    rows = client.query("tasks:list", {"user": "ada"})
    return {
        "before": before,
        "first": first,
        "second": second,
        "done": done,
        "async": client.action("tasks:work_async", {"user": "ada"}),
        "rows": [[row["title"], row["n"], sorted(row)] for row in rows],
        "paths": [client.query(path) for path in ("tasks", "tasks:default", "tasks.js:default")],
    }


VALUES = [
    None, True, "text\x00\U0001f600", 1.5, 3.0, b"bytes", [1.0, [2.0]], {"a b.1": {"": 1.0}},
    ConvexInt64(2**62), ConvexInt64(-1), math.inf, -math.inf, -0.0, 5e-324,
]  # fmt: skip


def same(left, right):
    if isinstance(left, ConvexInt64):
        return isinstance(right, ConvexInt64) and left.value == right.value
    return repr(left) == repr(right)


def values(url):
    """Every kind of value, there and back, over both of its clients."""
    wrong = []
    for client in (ConvexClient(url), ConvexHttpClient(url)):
        for value in VALUES:
            back = client.query("tasks:echo", {"value": value})
            if not same(value, back):
                wrong.append([type(client).__name__, repr(value), repr(back)])
        nan = client.query("tasks:echo", {"value": math.nan})
        if not math.isnan(nan):
            wrong.append(["nan", repr(nan)])
        if client.query("tasks:echo", {"value": 7}) != 7.0:
            wrong.append(["int"])
    return wrong


def errors(url):
    """How errors reach the callers of both clients, and that the client goes on after each."""
    client, http = ConvexClient(url), ConvexHttpClient(url)
    return {
        "application": raised(client.mutation, "tasks:fail"),
        "application query": raised(client.query, "tasks:missing", {"user": "nobody"}),
        "application action": raised(client.action, "tasks:fail_action"),
        "bug": raised(client.mutation, "tasks:break"),
        "unknown": raised(client.mutation, "tasks:nope"),
        "arguments": raised(client.query, "tasks:list", {"user": 3}),
        "internal": raised(client.query, "tasks:secret"),
        "http application": raised(http.mutation, "tasks:fail"),
        "http bug": raised(http.query, "tasks:crash"),
        "after": client.query("tasks"),
    }


def files(url):
    """Upload by plain HTTP, as apps do, and look at the file."""
    client = ConvexClient(url)
    asked = Request(client.mutation("files:generateUploadUrl"), b"pixels", method="POST")
    with urlopen(asked) as answer:
        storage_id = json.loads(answer.read())["storageId"]
    given = {"storageId": storage_id}
    with urlopen(client.query("files:url", given)) as answer:
        fetched = answer.read().decode()
    size = client.query("files:metadata", given)["size"]
    client.mutation("files:remove", given)
    return {"fetched": fetched, "size": size, "gone": client.query("files:url", given)}


def recovers(url):
    """A subscription that fails and recovers; what raises is an error, the next one a value."""
    client = ConvexClient(url)
    subscription = client.subscribe("tasks:missing", {"user": "ada"})
    first = raised(next, subscription)
    client.mutation("tasks:add", {"title": "one", "user": "ada"})
    return [first, next(subscription)]


def http(url):
    """The older client over HTTP."""
    client = ConvexHttpClient(url)
    client.mutation("tasks:add", {"title": "one", "user": "ada", "n": 2})
    rows = client.query("tasks:list", {"user": "ada"})
    return [
        [[row["title"], row["n"]] for row in rows],
        client.action("tasks:work", {"user": "ada"}),
        raised(client.query, "tasks:nope"),
    ]


def behind_a_login(url, token):
    """Behind a Jupyter server, whose token the client over HTTP sends as its own."""
    client = ConvexHttpClient(url)
    client.set_auth(token)
    client.mutation("tasks:add", {"title": "one", "user": "ada"})
    return client.query("tasks:titles", {"user": "ada"})


def http_auth(url, token):
    client = ConvexHttpClient(url)
    before = client.query("tasks:me")
    client.set_auth(token)
    during = client.query("tasks:me")
    client.set_auth("no token")
    return [before, during, raised(client.query, "tasks:me")]


def auth(url, token):
    """Sign in and out; the queries of the connection follow."""
    client = ConvexClient(url)
    before = client.query("tasks:me")
    client.set_auth(token)
    during = [client.query("tasks:me"), client.mutation("tasks:whoami")]
    client.clear_auth()
    return [before, *during, client.query("tasks:me")]


def admin(url, key):
    client = ConvexClient(url)
    client.set_admin_auth(key)
    return client.query("tasks:secret")


def big(url, kilobytes):
    """Results larger than one frame of the client's, subscribed and called."""
    client = ConvexClient(url)
    return [
        len(client.action("tasks:big_action", {"kilobytes": float(kilobytes)})),
        client.query("tasks"),
    ]


def too_big(url, kilobytes):
    client = ConvexClient(url)
    return [
        raised(client.action, "tasks:big_action", {"kilobytes": float(kilobytes)}),
        client.query("tasks"),
    ]


def adds_through_a_restart(url, count, path):
    """Adds until `count` are acknowledged, telling of each in a file; errors are tried again."""
    client = ConvexClient(url)
    told = open(path, "a", buffering=1)  # noqa: PTH123, SIM115
    done = 0
    deadline = time.monotonic() + 50
    while done < int(count) and time.monotonic() < deadline:
        try:
            client.mutation("tasks:add", {"title": f"t{done}", "user": "ada"})
        except Exception:  # noqa: BLE001  # "channel closed", spec 16
            time.sleep(0.05)
            continue
        told.write(f"t{done}\n")
        done += 1
    return done


def main():
    scenario, *args = sys.argv[1:]
    watchdog = threading.Timer(55, lambda: sys.stderr.write("still waiting\n"))
    watchdog.daemon = True
    watchdog.start()
    report = globals()[scenario](*args)
    sys.stdout.write("\n" + json.dumps(report) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
