"""Groups of tasks: what is stored about them, and the reports of their members."""
