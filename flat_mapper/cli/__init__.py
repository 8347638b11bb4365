"""The command `flat-mapper`."""
