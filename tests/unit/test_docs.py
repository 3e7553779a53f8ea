"""The documentation is complete, and names only what exists."""

import re
from pathlib import Path

import pytest
from documented.commands import wrong_use

from stem_amqp.observability.events import CATALOGUE as EVENTS
from stem_amqp.observability.metrics import CATALOGUE
from stem_amqp.observability.queues import METRICS
from stem_amqp.observability.tracing.catalogue import ATTRIBUTES, CONVENTIONS
from stem_amqp.settings import Settings
from stem_amqp.signals import TABLE
from stem_amqp.states import Reason

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "topology" / "README.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
]


def test_every_setting_is_documented():
    """Users find settings in the documentation."""
    text = (ROOT / "docs" / "operations.md").read_text()
    missing = [name for name in Settings.model_fields if f"`STEM_{name.upper()}`" not in text]
    assert missing == []


def test_descriptions_of_settings_are_those_of_the_code():
    """The table of settings has the descriptions of `Settings`."""
    text = (ROOT / "docs" / "operations.md").read_text()
    fields = Settings.model_fields.items()
    assert [name for name, field in fields if f"| {field.description} |" not in text] == []


def test_every_documented_variable_exists():
    """The documentation names no variable that does not exist."""
    known = {f"STEM_{name.upper()}" for name in Settings.model_fields}
    known |= {"STEM_TEST_BROKER_URL", "STEM_TEST_INSTALL", "STEM_TEST_POSTGRES_URL"}
    known |= {"STEM_TEST_REDIS_URL", "STEM_TEST_FUZZ", "STEM_TEST_RABBITMQ_SERVER"}
    named = {word for page in PAGES for word in re.findall(r"STEM_[A-Z_]+[A-Z]", page.read_text())}
    assert named - known == set()


def test_metrics_of_tasks_are_those_of_the_code():
    """The table of the metrics of tasks is equal to its catalogue."""
    text = (ROOT / "docs" / "observability.md").read_text()
    section = text.partition("### All metrics")[2].partition("\n**Labels")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)}".rstrip()
        + f" | `{one.unit}` | `{one.otel}` | {one.description} |"
        for one in CATALOGUE
    ]


def test_every_signal_is_documented():
    """The table of signals is complete."""
    text = (ROOT / "docs" / "worker.md").read_text()
    assert [name for name in TABLE if f"`{name}`" not in text] == []


def test_every_reason_is_documented():
    """The reader of a dead letter finds its reason in the documentation."""
    text = (ROOT / "docs" / "tasks.md").read_text()
    by_the_broker = {Reason.QUEUE_TTL, Reason.QUEUE_LENGTH}
    missing = [r.value for r in Reason if r not in by_the_broker and f"`{r.value}`" not in text]
    assert missing == []


def test_metrics_of_queues_are_those_of_the_code():
    """The table of the queue exporter's metrics is equal to its catalogue."""
    text = (ROOT / "docs" / "observability.md").read_text()
    section = text.partition("### Metrics of queues")[2].partition("\n#")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `stem_")]
    assert rows == [
        f"| `{metric.name}` | {', '.join(f'`{label}`' for label in metric.labels)}".rstrip()
        + f" | `{metric.unit}` | {metric.description} |"
        for metric in METRICS
    ]


def test_events_are_those_of_the_code():
    """The table of lifecycle events is equal to its catalogue."""
    text = (ROOT / "docs" / "observability.md").read_text()
    section = text.partition("### All events")[2].partition("\n**Only")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{one.name}` | {', '.join(f'`{field}`' for field in one.fields)}".rstrip()
        + f" | {one.meaning} |"
        for one in EVENTS.values()
    ]


def test_attributes_of_spans_are_those_of_the_code():
    """The table of span attributes is equal to its catalogue."""
    text = (ROOT / "docs" / "observability.md").read_text()
    section = text.partition("### Attributes of spans")[2].partition("\n#")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{one.name}` | {one.type} | {', '.join(f'`{name}`' for name in one.on)} | {one.description} |"
        for one in ATTRIBUTES
    ]
    assert f"version {CONVENTIONS} of the [semantic conventions" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """Every relative link points to a file of the repository."""
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    broken = [target for target in targets if not (page.parent / target).exists()]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_sentences_exist(page):
    """Commands in blocks are tested by `documented`; `a|b` names several commands at once."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    commands = [command.split() for command in re.findall(r"`stem-amqp\s([a-zA-Z-][^`|…]*)`", text)]
    wrong = {" ".join(words): wrong_use(words, whole=False) for words in commands}
    assert {command: reason for command, reason in wrong.items() if reason} == {}


def test_files_of_the_map_exist():
    """CONTRIBUTING names only files and folders that the tree has."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = re.search(r"^## Map$(.*?)^## ", text, flags=re.DOTALL | re.MULTILINE)
    assert section is not None
    named = set(re.findall(r"`([\w./]+(?:\.(?:py|md|json|toml|svg)|/))`", section[1]))
    folders = (ROOT, ROOT / "stem_amqp")
    missing = [name for name in named if not any((folder / name).exists() for folder in folders)]
    assert len(named) > 50
    assert missing == []
