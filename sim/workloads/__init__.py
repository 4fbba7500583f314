"""Layers and inputs: random, from files (arrays, pictures, sound), the example network."""
