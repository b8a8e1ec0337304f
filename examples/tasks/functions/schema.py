"""The tables of the example."""

from livedb import define_schema, define_table, v

schema = define_schema(
    {
        "tasks": define_table(
            {"title": v.string(), "done": v.boolean(), "author": v.string()}
        ).index("by_done", ["done"]),
    }
)
