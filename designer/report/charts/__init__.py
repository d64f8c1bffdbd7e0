"""Charts: how Altair draws each figure, with one palette for light and one for dark."""
