"""Sharing a workspace: with other processes of one user, and with other people."""
