"""Access to a workspace: the `db` that users hold, and the backend behind it, local or remote."""
