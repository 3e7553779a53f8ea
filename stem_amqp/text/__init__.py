"""Text input and output: reading files, task id prefixes, redacted URLs, escaped control characters."""

from stem_amqp.text.file import UnreadableFileError, check_regular, read_text
from stem_amqp.text.id_prefix import SHORTEST, distinguishing_length, matches_id, resolve_id
from stem_amqp.text.plural import count
from stem_amqp.text.printable import escaped_lines, indented, json_text, one_line
from stem_amqp.text.redaction import redacted, without_secrets

__all__ = [
    "SHORTEST",
    "UnreadableFileError",
    "check_regular",
    "count",
    "distinguishing_length",
    "escaped_lines",
    "indented",
    "json_text",
    "matches_id",
    "one_line",
    "read_text",
    "redacted",
    "resolve_id",
    "without_secrets",
]
