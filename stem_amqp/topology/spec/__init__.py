"""The keys of a topology file, as models."""
