"""The store: documents in memory for functions, columns in DuckDB for SQL."""
