"""TODO designer/report/figures."""
