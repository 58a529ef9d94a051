"""Spin-glass models and their theory; no networks in this room."""
