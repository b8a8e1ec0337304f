"""Changes of whole tables: schemas and bulk loads, each one exclusive commit."""
