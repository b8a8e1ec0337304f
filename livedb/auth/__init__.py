"""Identity: who calls the service, proven by a token or a key, and what each may do."""
