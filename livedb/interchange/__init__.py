"""Interchange: Arrow, frames, files in and out."""
