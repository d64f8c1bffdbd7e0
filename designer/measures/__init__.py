"""TODO designer/measures."""
