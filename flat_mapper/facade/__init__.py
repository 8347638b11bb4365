"""One function for each verb of the command line, for `import flat_mapper as fm`."""
