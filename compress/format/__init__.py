"""The `.eie` file: head, bodies, entropy coders, sizes (docs/formats.md)."""
