"""Verilog for other designs: folders, checks, packages, the chip with its host interface."""
