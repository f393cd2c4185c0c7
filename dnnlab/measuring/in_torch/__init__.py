"""Layers carried out and counted in PyTorch, on the processor or on a GPU."""
