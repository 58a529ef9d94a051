"""Probes that take trained parameters and return arrays."""
