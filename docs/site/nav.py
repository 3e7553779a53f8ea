"""The order of the pages: a page that is not here makes the build fail."""

CHAPTERS = {
    "Begin": [
        "tutorial",
        "from-celery",
        "from-dramatiq",
        "from-taskiq",
    ],
    "Guides": [
        "tasks",
        "dependencies",
        "middleware",
        "blocking",
        "integrations",
        "worker",
        "topology",
        "results",
        "testing",
        "security",
        "operations",
        "reading-your-queues",
        "outages",
    ],
    "Practices": [
        "practices/task-design",
        "practices/error-handling",
        "practices/concurrency-and-load",
        "practices/observability",
        "practices/operations",
        "practices/terminology",
    ],
    "Concepts": [
        "concepts",
        "guarantees",
        "wire",
        "/topology/README",
    ],
    "Reference": [
        "reference/api",
        "reference/settings",
        "reference/cli",
        "reference/topology-file",
        "/examples/orders/README",
        "/examples/webshop/README",
    ],
    "Measured": [
        "figures",
        "benchmarks",
        "/tests/benchmarks/README",
        "/CHANGELOG",
    ],
}


def toctrees() -> str:
    """Return the navigation as directives for the first page."""
    return "\n".join(
        f"```{{toctree}}\n:caption: {caption}\n:hidden:\n\n" + "\n".join(pages) + "\n```\n"
        for caption, pages in CHAPTERS.items()
    )
