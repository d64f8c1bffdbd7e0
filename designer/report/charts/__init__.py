"""Charts drawn from figures."""
