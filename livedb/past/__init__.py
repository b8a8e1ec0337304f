"""The past of a workspace: what it was at earlier commits, what they changed, and undoing them."""
