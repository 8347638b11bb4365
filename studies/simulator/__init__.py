"""FLAT's simulator, row by row."""
