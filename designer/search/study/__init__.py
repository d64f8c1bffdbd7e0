"""TODO designer/search/study."""
