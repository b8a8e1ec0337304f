"""A workspace on the network: Convex's sync protocol and HTTP API over one ASGI app."""
