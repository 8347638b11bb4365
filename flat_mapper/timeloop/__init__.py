"""Timeloop's files, written and read, and its programs, run."""
