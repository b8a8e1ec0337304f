"""A module of functions, for tests that push one."""

import livedb


@livedb.query
def one(ctx) -> int:
    return 1
