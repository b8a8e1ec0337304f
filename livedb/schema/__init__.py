"""Types of documents, arguments and results: declared, checked, compared, inferred."""
