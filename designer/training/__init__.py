"""One short, seeded training run."""
