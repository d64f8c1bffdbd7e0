"""TODO designer/search/workers."""
