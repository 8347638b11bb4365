"""Many devices: a network of chips, what each is given, and what goes between them."""
