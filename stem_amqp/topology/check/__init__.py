"""Checks across the keys of a topology file."""
