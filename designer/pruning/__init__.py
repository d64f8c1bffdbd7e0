"""Which blocks a trained model can lose, and a smaller model without them."""
