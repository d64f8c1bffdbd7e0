"""The maths: features and labels in, numbers out."""
