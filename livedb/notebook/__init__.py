"""The notebook face: handles, live tables, the publisher, manners."""
