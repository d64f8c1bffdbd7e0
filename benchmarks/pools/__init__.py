"""Pools of trained networks: their file format, their measurement and zero-cost scores."""
