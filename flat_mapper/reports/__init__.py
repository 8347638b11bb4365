"""Answers as text, tables, trees, figures and files."""
