"""A script on Convex's own Python client: adds a task, and prints the newest ones as they change.

pip install convex
python client.py [--url http://127.0.0.1:3210] [--changes 3] [title]
"""

from __future__ import annotations

import argparse

from convex import ConvexClient


def main() -> None:
    """Add a task if there is one to add, then follow the newest until enough was seen."""
    options = parse_options()
    client = ConvexClient(options.url)
    if options.title:
        client.mutation("tasks:add", {"title": options.title, "author": "a script"})
    changes = client.subscribe("tasks:recent", {"limit": 3})
    for seen, tasks in enumerate(changes, start=1):
        print(" | ".join(f"[{'x' if task['done'] else ' '}] {task['title']}" for task in tasks))
        if seen == options.changes:
            break
    changes.unsubscribe()


def parse_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Add a task, and follow the newest three.")
    parser.add_argument("title", nargs="?", help="what is to be done")
    parser.add_argument("--url", default="http://127.0.0.1:3210", help="the livedb service")
    parser.add_argument("--changes", type=int, help="end after so many; without it, never")
    return parser.parse_args()


if __name__ == "__main__":
    main()
