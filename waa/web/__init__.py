"""Tornado handlers, streams, panels and pages."""
