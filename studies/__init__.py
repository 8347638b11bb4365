"""Published and measured results made again: each study a folder, on the public API alone.

From the project's root `python -m studies.NAME --help` says what a study reads; its README.md what
it reproduces, where the data are from, and what comes out.
"""
