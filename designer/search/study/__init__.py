"""What a study holds: attributes, trials, proposals and claims."""
