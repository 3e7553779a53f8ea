"""Integrations with web frameworks and logging; a framework is needed only by its own module."""
