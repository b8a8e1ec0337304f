"""Paths of a service that others beside it know."""

UNDER_API = "/http"
"""Where the site, a workspace's HTTP actions, is on the service's own origin."""
