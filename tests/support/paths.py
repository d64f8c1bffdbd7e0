"""Paths of the checkout and of the files that belong to the tests."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The root folder of the checkout."""

FILES = ROOT / "tests" / "files"
"""The folder of data, golden reports and values of the published program."""
