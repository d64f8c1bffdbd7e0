"""What is inside one model: profile, advice, comparison."""
