"""Where the tests find the checkout and the files that belong to them."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""

FILES = ROOT / "tests" / "files"
"""Data, golden reports and values of the published program."""
