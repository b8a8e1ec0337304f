"""The version of livedb, for who compares it with that of another process."""

VERSION = "0.1.0"
