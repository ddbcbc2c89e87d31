"""Decisions: pure functions on frozen values. No I/O, no clock, no chance."""
