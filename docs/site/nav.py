"""The order of the pages; the build fails if a page is missing here."""

CHAPTERS = {
    "Getting started": [
        "tutorial",
        "from-celery",
        "from-dramatiq",
        "from-taskiq",
    ],
    "Guides": [
        "tasks",
        "limits",
        "composition",
        "batches",
        "batch-tasks",
        "schedules",
        "dependencies",
        "middleware",
        "blocking",
        "integrations",
        "worker",
        "control",
        "topology",
        "pauses",
        "breakers",
        "results",
        "testing",
        "security",
        "operations",
        "observability",
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
