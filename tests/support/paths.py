"""Paths of the checkout and of the files that belong to the tests."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""

FILES = ROOT / "tests" / "files"
"""Data, golden reports and values of the published program."""
