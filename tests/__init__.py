"""Tests of waa-live."""
