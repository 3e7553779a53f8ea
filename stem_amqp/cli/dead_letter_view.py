"""Dead letters as people and programs read them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import orjson
from rich.text import Text

from stem_amqp.cli.output import ago, count, iso, moment
from stem_amqp.dead_letter import DeadLetter

_UNREADABLE = 2000
"""Bytes shown of a body that is no task message."""


def document(letter: DeadLetter, *, whole: bool = False) -> dict[str, Any]:
    """Return a letter for programs.

    Args:
        letter: the letter.
        whole: with traceback, history, meta, arguments and headers.
    """
    plain = ("position", "id", "task", "reason", "error", "attempt", "replays", "worker", "size")
    more = ("traceback", "history", "meta", "args", "headers")
    sealed = ("problem", "encryption", "signature")
    result = {name: getattr(letter, name) for name in (*plain, *sealed, *(more if whole else ()))}
    return result | {"failed_at": iso(letter.failed_at), "enqueued_at": iso(letter.enqueued_at)}


def list_view(letters: Iterable[DeadLetter]) -> Text:
    """Return letters in three lines each: what it is, why it is here, what went wrong."""
    now = time.time()
    lines: list[Text] = []
    for letter in letters:
        lines += [_head(letter), Text.assemble("  ", (letter.reason, "red"), _story(letter, now))]
        problem = letter.error or letter.problem
        if problem:
            lines.append(Text(f"  {problem.splitlines()[0]}"))
    return Text("\n").join(lines)


def show_view(letter: DeadLetter) -> Text:
    """Return everything about one letter."""
    text = _head(letter)
    facts: dict[str, str | None] = {
        "reason": letter.reason,
        "error": letter.error,
        "problem": letter.problem,
        "encrypted": letter.encryption,
        "signature": letter.signature,
        "failed at": None if letter.failed_at is None else moment(letter.failed_at),
        "enqueued": None if letter.enqueued_at is None else moment(letter.enqueued_at),
        "runs": f"{letter.attempt + 1}, replayed {count(letter.replays, 'time')}",
        "worker": letter.worker,
        "args": _json(letter.args) if letter.decodable else None,
        "meta": _json(letter.meta) if letter.meta else None,
        "headers": _json({k: v for k, v in letter.headers.items() if not k.startswith("stem-")}),
        "size": f"{letter.size} bytes, position {letter.position}",
    }
    for name, fact in facts.items():
        if fact is not None:
            text.append(f"\n  {name:<11}", "dim").append(fact)
    for number, line in enumerate(letter.history, 1):
        text.append(f"\n  {f'failure {number}':<11}", "dim").append(line)
    if letter.traceback:
        text.append("\n\n" + letter.traceback.rstrip())
    if not letter.decodable:
        text.append("\n\n" + letter.body[:_UNREADABLE].decode(errors="backslashreplace"))
    return text


def _head(letter: DeadLetter) -> Text:
    return Text.assemble((letter.task or "(no task name)", "bold"), "  ", letter.id or "(no id)")


def _story(letter: DeadLetter, now: float) -> str:
    runs = letter.attempt + 1
    words = [
        None if letter.failed_at is None else ago(letter.failed_at, now),
        "after 1 run" if runs == 1 else f"after {runs} runs",
        f"replayed {count(letter.replays, 'time')}" if letter.replays else None,
        letter.worker and f"on {letter.worker}",
    ]
    return "".join(f", {word}" for word in words if word)


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
