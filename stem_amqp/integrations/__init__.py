"""At home in web frameworks and in logging; each module needs its framework only when it is imported."""
