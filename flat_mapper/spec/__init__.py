"""Documents in and out: YAML, expressions, templates, the files that ship."""
