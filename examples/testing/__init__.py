"""A small application and its tests, as a project of yours would have them. See docs/testing.md."""
