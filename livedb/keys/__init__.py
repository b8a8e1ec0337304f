"""Index keys as bytes: their encoding, and intervals of them."""
