"""What all else stands on: errors, units, processes."""
