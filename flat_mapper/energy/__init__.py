"""Energy and area tables, and where their numbers come from."""
