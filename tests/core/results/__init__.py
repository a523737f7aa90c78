"""Readers of the result tree."""
