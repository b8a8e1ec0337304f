"""The functions of the example: `livedb serve` names them `tasks:feed`, `tasks:add` and so on."""

from typing import Any

from livedb import ApplicationError, Id, MutationContext, QueryContext, mutation, query

TaskId = Id["tasks"]

TITLE_LENGTH_MAX = 200


@query
def feed(ctx: QueryContext, paginationOpts: dict[str, Any]) -> Any:  # noqa: N803  # the wire's name
    """Pages of tasks, newest first, for `usePaginatedQuery`."""
    return ctx.db.query("tasks").order("desc").paginate(paginationOpts)


@query
def recent(ctx: QueryContext, limit: int = 10) -> list[dict[str, Any]]:
    """The newest tasks."""
    return ctx.db.query("tasks").order("desc").take(limit)


@query
def summary(ctx: QueryContext) -> dict[str, int]:
    """How many tasks are open, and how many done."""
    tasks = ctx.db.query("tasks")
    return {
        "open": len(tasks.with_index("by_done", done=False).collect()),
        "done": len(tasks.with_index("by_done", done=True).collect()),
    }


@mutation
def add(ctx: MutationContext, title: str, author: str) -> TaskId:
    """A new task, to be done."""
    title = title.strip()
    if not 0 < len(title) <= TITLE_LENGTH_MAX:
        raise ApplicationError(f"A title has 1 to {TITLE_LENGTH_MAX} characters")
    return ctx.db.insert("tasks", {"title": title, "done": False, "author": author})


@mutation
def toggle(ctx: MutationContext, task: TaskId) -> bool:
    """Whether the task is done now."""
    done = not ctx.db.get(task).done
    ctx.db.patch(task, {"done": done})
    return done
