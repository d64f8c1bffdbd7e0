"""TODO designer/report/views."""
