"""The data behind every chart, as frozen records."""
