"""TODO designer/models."""
