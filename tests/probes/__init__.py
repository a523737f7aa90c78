"""Tests of the probes, with real neighbours."""
