"""The commands of `eie`, one module each, named like the command."""
