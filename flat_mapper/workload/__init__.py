"""What is computed: cascades of Einsums, and the files that describe them."""
