"""Checkers that watch the blocks' signals, and the proofs of what they say (docs/formal.md)."""
