"""TODO designer/analysis."""
