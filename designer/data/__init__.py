"""TODO designer/data."""
