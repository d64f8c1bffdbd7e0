"""Processes that run trials, on this machine and on others."""
