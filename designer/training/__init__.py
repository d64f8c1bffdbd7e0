"""TODO designer/training."""
