"""The group of commands."""

from __future__ import annotations

from stem_amqp.cli import options as opt
from stem_amqp.cli.control import history, lasting, questions, revoke, shutdown

app = opt.command_app(
    "Ask workers, pause and resume, revoke tasks, change limits, shut down; who did what."
)
for part in (questions.app, lasting.app, revoke.app, shutdown.app, history.app):
    app.add_typer(part)
