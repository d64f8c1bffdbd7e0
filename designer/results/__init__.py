"""TODO designer/results."""
