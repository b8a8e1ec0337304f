"""A webhook of the example: whoever has its secret adds a task by POST to `/hooks/tasks`.

    livedb env set tasks.livedb HOOK_SECRET some-secret     # before it is served
    curl -H 'x-hook-secret: some-secret' -d '{"title": "Try it"}' http://127.0.0.1:3211/hooks/tasks

Anybody may call an HTTP action who can reach it, so it looks at the secret itself.
"""

import hmac

from starlette.responses import JSONResponse, Response

from livedb import AsyncActionContext, AsyncHttpRequest, HttpRouter, json_response

http = HttpRouter()


@http.route(path="/hooks/tasks", method="POST")
async def add_by_hook(ctx: AsyncActionContext, request: AsyncHttpRequest) -> Response:
    """A new task, from `{"title": "..", "author": ".."}`."""
    secret = ctx.env.get("HOOK_SECRET", "")
    given = request.headers.get("x-hook-secret", "")
    if not secret or not hmac.compare_digest(given.encode(), secret.encode()):
        return JSONResponse({"error": "the secret is wrong"}, 401)
    try:
        asked = await request.json()
        title, author = str(asked["title"]), str(asked.get("author", "a hook"))
    except (ValueError, LookupError, AttributeError, TypeError):
        return JSONResponse({"error": 'send {"title": ".."}'}, 400)
    task = await ctx.run_mutation("tasks:add", title=title, author=author)
    return json_response({"task": task}, 201)
