"""The compressed network on this processor beside dense and sparse libraries: `eie bench` (docs/cpu.md)."""
