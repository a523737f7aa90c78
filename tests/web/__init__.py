"""Tests of the web floor."""
