"""Cells, area and longest paths from Yosys (docs/synth.md)."""
