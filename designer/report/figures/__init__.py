"""Figures: the data and the texts of every chart, as frozen records."""
