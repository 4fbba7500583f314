"""Statements about the blocks: checkers that watch a block's signals, and the proofs of what they say (docs/formal.md)."""
