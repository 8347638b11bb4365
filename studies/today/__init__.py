"""The attention and the layers of today's models."""
