"""Runs the functions of tasks: event loop or thread, time limits, dependencies, exceptions."""
