"""The contents of files: where they lie, how they come there whole, and when they go."""
