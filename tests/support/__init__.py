"""Neighbours that tests start for real, and what they need."""
