"""Layers carried out and counted in NumPy."""
