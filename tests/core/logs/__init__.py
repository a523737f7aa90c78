"""Tests of the log grammars."""
