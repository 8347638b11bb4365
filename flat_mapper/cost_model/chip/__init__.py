"""A whole chip: groups of Einsums on one core or on many."""
