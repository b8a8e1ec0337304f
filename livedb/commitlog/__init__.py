"""The ordered, durable commits: the contract, its two local implementations, and their files."""
