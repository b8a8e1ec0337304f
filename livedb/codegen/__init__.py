"""A workspace's functions and tables as source code for its clients."""
