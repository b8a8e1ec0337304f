"""A process that migrates until it is killed; says each batch, and when all are done."""

import sys

import livedb
from livedb.ext.migrations import migration

with livedb.open(sys.argv[1]) as db:

    @db.mutation(internal=True)
    @migration("tasks", batch_documents=5)
    def raise_runs(ctx, task):
        return {"runs": task["runs"] + 1}

    @db.query
    def states(ctx):
        return [[row.batch, row.state] for row in ctx.db.query("migrations").collect()]

    followed = states.live()
    raise_runs()
    while True:
        seen = followed.version
        for batch, state in followed.value:
            print("DONE" if state == "done" else f"batch {batch}", flush=True)
        followed.wait(after=seen)
