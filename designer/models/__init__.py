"""Models in files and folders, their size, and surgery on them."""
