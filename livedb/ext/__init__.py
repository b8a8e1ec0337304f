"""What many applications need on top of functions, written with nothing but `ctx`.

`rate_limiter`, `counters` and `migrations` keep their state in tables of the workspace, which
`db.push(rate_limiter)` makes; so all of it is transactional, and live queries follow it.
"""
