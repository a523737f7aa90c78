"""Adapters that look at benchmark machines."""
