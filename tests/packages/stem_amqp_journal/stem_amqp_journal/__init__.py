"""Results in one file of JSON lines: ``STEM_BACKEND_URL=journal:///var/lib/app/results.jsonl``.

An example of a result backend of one's own. It is complete and correct, for the processes of one machine
on a local disk, and made to be read and not to be fast: the file is never compacted.
"""

from __future__ import annotations

from pathlib import Path

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.factory import BackendParts
from stem_amqp_journal.backend import JournalBackend


def journal(parts: BackendParts) -> ResultBackend:
    """Make the backend of a URL: the entry point.

    Raises:
        ConfigurationError: the URL names no file.
    """
    if not parts.rest.startswith("/") or parts.rest.endswith("/"):
        raise ConfigurationError(
            "journal:// takes the absolute path of a file: journal:///var/lib/app/results.jsonl"
        )
    return JournalBackend(Path(parts.rest), parts.clock)
