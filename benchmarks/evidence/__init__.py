"""Tables and pictures that are written from the result files."""
