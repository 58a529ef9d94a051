"""Paths between trained networks."""
