"""Sweeps: grids, points, the store, workers (docs/sweeps.md)."""
