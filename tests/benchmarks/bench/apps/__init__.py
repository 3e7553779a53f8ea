"""The applications that the workers of each framework load. Each reads its run on import."""
