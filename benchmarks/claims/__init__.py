"""The programs that measure what the project claims, one file per claim."""
