"""Frozen records that every room hands on, and their JSON."""
