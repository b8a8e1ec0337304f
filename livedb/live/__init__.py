"""Live results: what is run again when a commit touched it, and who hears of it."""
