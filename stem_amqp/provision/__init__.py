"""Provisioning: declares the topology on the broker, or reports what is missing."""
