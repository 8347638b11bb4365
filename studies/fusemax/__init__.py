"""FuseMax's own results, beside the model's of the mappings of its artifact."""
