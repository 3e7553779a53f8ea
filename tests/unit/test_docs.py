"""The documentation names what there is."""

import re
from pathlib import Path

import pytest
from documented.commands import wrong_use

from stem_amqp.settings import Settings
from stem_amqp.signals import TABLE
from stem_amqp.states import Reason

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "topology" / "README.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
]


def test_every_setting_is_documented():
    """A setting that nobody can find does not exist."""
    text = (ROOT / "docs" / "operations.md").read_text()
    missing = [name for name in Settings.model_fields if f"`STEM_{name.upper()}`" not in text]
    assert missing == []


def test_every_documented_variable_exists():
    """And none is documented that does not exist."""
    known = {f"STEM_{name.upper()}" for name in Settings.model_fields}
    known |= {"STEM_TEST_BROKER_URL", "STEM_TEST_INSTALL", "STEM_TEST_POSTGRES_URL"}
    known |= {"STEM_TEST_REDIS_URL", "STEM_TEST_FUZZ", "STEM_TEST_RABBITMQ_SERVER"}
    named = {word for page in PAGES for word in re.findall(r"STEM_[A-Z_]+[A-Z]", page.read_text())}
    assert named - known == set()


def test_every_signal_is_documented():
    """The table of signals is whole."""
    text = (ROOT / "docs" / "worker.md").read_text()
    assert [name for name in TABLE if f"`{name}`" not in text] == []


def test_every_reason_is_documented():
    """Whoever reads a dead letter finds its reason."""
    text = (ROOT / "docs" / "tasks.md").read_text()
    by_the_broker = {Reason.QUEUE_TTL, Reason.QUEUE_LENGTH}
    missing = [r.value for r in Reason if r not in by_the_broker and f"`{r.value}`" not in text]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """Every relative link is a file of the repository."""
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    broken = [target for target in targets if not (page.parent / target).exists()]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_sentences_exist(page):
    """As those in blocks do, see `documented`; `a|b` names several at once."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    commands = [command.split() for command in re.findall(r"`stem-amqp\s([a-zA-Z-][^`|…]*)`", text)]
    wrong = {" ".join(words): wrong_use(words, whole=False) for words in commands}
    assert {command: reason for command, reason in wrong.items() if reason} == {}
