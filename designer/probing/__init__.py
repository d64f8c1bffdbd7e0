"""TODO designer/probing."""
