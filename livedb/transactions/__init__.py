"""Transactions: snapshots, read and write sets, the committer, subscriptions."""
