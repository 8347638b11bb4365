"""FLAT's tables and figures by this model."""
