"""Protocol: Convex's wire form of values, no I/O."""
