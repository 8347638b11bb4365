"""The best mapping over alternatives and groups in sequence."""
