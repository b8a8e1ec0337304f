"""Functions that travel to a shared workspace as source, with the names they need."""
