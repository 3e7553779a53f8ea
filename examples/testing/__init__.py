"""A small application with tests, as in a project of your own. See docs/testing.md."""
