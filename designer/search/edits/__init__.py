"""Edits of the recommended networks that a search tries, and what came of them."""
