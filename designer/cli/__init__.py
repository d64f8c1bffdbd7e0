"""TODO designer/cli."""
