"""Output of dead letters as text and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from rich.text import Text

from stem_amqp.cli.output import ago, format_time, iso
from stem_amqp.dead_letter import DeadLetter
from stem_amqp.text import count, indented, json_text, one_line

_UNREADABLE = 2000
"""Maximum bytes shown of a body that is not a task message."""
_INDENT = " " * 13
"""The indent of the further lines of a value, so that they align with the first one."""


def document(letter: DeadLetter, *, whole: bool = False) -> dict[str, Any]:
    """Return a letter as JSON values.

    Args:
        letter: the letter.
        whole: whether to include traceback, history, meta, arguments and headers.
    """
    plain = ("position", "id", "task", "reason", "error", "attempt", "replays", "worker", "size")
    more = ("traceback", "history", "meta", "args", "headers")
    sealed = ("problem", "encryption", "signature")
    result = {name: getattr(letter, name) for name in (*plain, *sealed, *(more if whole else ()))}
    return result | {"failed_at": iso(letter.failed_at), "enqueued_at": iso(letter.enqueued_at)}


def list_view(letters: Iterable[DeadLetter]) -> Text:
    """Return letters in three lines each: task and id, reason and attempts, error."""
    now = time.time()
    lines: list[Text] = []
    for letter in letters:
        lines += [
            _head(letter),
            Text.assemble("  ", (one_line(letter.reason), "red"), _story(letter, now)),
        ]
        problem = letter.error or letter.problem
        if problem:
            first, _, _ = problem.strip().partition("\n")
            lines.append(Text(f"  {one_line(first)}"))
    return Text("\n").join(lines)


def show_view(letter: DeadLetter) -> Text:
    """Return all fields of one letter."""
    text = _head(letter)
    facts: dict[str, str | None] = {
        "reason": letter.reason,
        "error": letter.error,
        "problem": letter.problem,
        "encrypted": letter.encryption,
        "signature": letter.signature,
        "failed at": None if letter.failed_at is None else format_time(letter.failed_at),
        "enqueued": None if letter.enqueued_at is None else format_time(letter.enqueued_at),
        "runs": f"{letter.attempt + 1}, replayed {count(letter.replays, 'time')}",
        "worker": letter.worker,
        "args": _json(letter.args) if letter.decodable else None,
        "meta": _json(letter.meta) if letter.meta else None,
        "headers": _json({k: v for k, v in letter.headers.items() if not k.startswith("stem-")}),
        "size": f"{letter.size} bytes, position {letter.position}",
    }
    for name, fact in facts.items():
        if fact is not None:
            text.append(f"\n  {name:<11}", "dim").append(indented(fact, _INDENT))
    for number, line in enumerate(letter.history, 1):
        text.append(f"\n  {f'failure {number}':<11}", "dim").append(one_line(line))
    if letter.traceback:
        _append_block(text, letter.traceback.rstrip())
    if not letter.decodable:
        _append_block(text, letter.body[:_UNREADABLE].decode(errors="backslashreplace"))
    return text


def _append_block(text: Text, block: str) -> None:
    """Append an indented block of lines."""
    text.append("\n\n    " + indented(block, "    "))


def _head(letter: DeadLetter) -> Text:
    task = one_line(letter.task or "(no task name)")
    return Text.assemble((task, "bold"), "  ", one_line(letter.id or "(no id)"))


def _story(letter: DeadLetter, now: float) -> str:
    runs = letter.attempt + 1
    words = [
        None if letter.failed_at is None else ago(letter.failed_at, now),
        "after 1 run" if runs == 1 else f"after {runs} runs",
        f"replayed {count(letter.replays, 'time')}" if letter.replays else None,
        letter.worker and f"on {one_line(letter.worker)}",
    ]
    return "".join(f", {word}" for word in words if word)


def _json(value: Any) -> str:
    return json_text(value)
