"""Searches by the words of a text and by the direction of a vector, at any commit that is kept."""
