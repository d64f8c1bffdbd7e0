"""TODO designer/report/charts."""
