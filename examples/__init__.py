"""Examples: single files that show one thing each, and `examples.orders`, a small application."""
