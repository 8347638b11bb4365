"""The best mapping of one group."""
