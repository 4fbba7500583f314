"""The command line, `eie`."""
