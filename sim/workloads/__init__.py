"""Layers and inputs: random, from files, the example network."""
