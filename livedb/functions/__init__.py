"""Functions: definitions, contexts, the query builder, and the runner that runs them."""
