"""An id or a filter that is empty, as an unset variable of a script makes it, is refused by every command."""

import pytest
from cli_support import command_line

from stem_amqp import Stem
from stem_amqp.errors import ConfigurationError

AWAY = ("--broker-url", "amqp://127.0.0.1:1/")


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Yield a command line in an empty directory."""
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        yield cli


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tree", ""), "'' is not the id of a composition"),
        (("tree", ".0"), "'.0' is not the id of a composition"),
        (("result", " "), "an id cannot be empty"),
        (("control", "revoke", "", *AWAY), "an id cannot be empty"),
        (("control", "revoke", "--composition", "", *AWAY), "'' is not the id of a composition"),
        (("dlq", "show", "orders", "", *AWAY), "an id cannot be empty"),
        (("dlq", "replay", "--composition", "", *AWAY), "'' is not the id of a composition"),
        (("dlq", "replay", "orders", "--id", "", "--yes", *AWAY), "a filter cannot be empty"),
        (("dlq", "purge", "orders", "--id", "", "--yes", *AWAY), "a filter cannot be empty"),
        (("dlq", "purge", "orders", "--id", ",", "--yes", *AWAY), "a filter cannot be empty"),
        (("dlq", "purge", "orders", "--reason", "", "--yes", *AWAY), "a filter cannot be empty"),
        (("dlq", "list", "orders", "--task", "", *AWAY), "a filter cannot be empty"),
        (("enqueue", "orders.sync", "--task-id", "", *AWAY), "task_id"),
    ],
)
def test_an_empty_id_is_refused_before_anything_is_asked(cli, words, says):
    """An empty --id is not "no --id", which would select every dead letter."""
    ran = cli(*words)
    assert ran.code == 2
    text = " ".join(ran.err.replace("│", " ").split())
    assert says in text
    assert "127.0.0.1" not in text


async def test_an_empty_composition_is_refused_in_code():
    """The id of a composition is what stands before the first dot."""
    stem = Stem(broker_url="memory://", backend_url="memory://")
    async with stem:
        with pytest.raises(ConfigurationError, match="must be the id of a composition"):
            await stem.revoke_all(composition=".0")
