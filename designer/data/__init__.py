"""What `--data` accepts, as seeded training, validation and test tensors."""
