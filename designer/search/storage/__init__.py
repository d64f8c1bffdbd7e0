"""TODO designer/search/storage."""
