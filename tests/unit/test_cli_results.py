"""``stem-amqp results``: lists and counts from the command line, on a store in a file."""

import asyncio
import shlex
from contextlib import asynccontextmanager

import pytest
from cli_support import command_line

from stem_amqp.cli import results
from stem_amqp.clock import SystemClock
from stem_amqp.results.model import Progress, ProgressUpdate, Transition
from stem_amqp.results.sqlite import SqliteBackend
from stem_amqp.states import TaskState

HOUR = 3600
ERROR = (
    "ValueError: no such order: \x1b[31m[order-42] in the warehouse, nor in any other\nsecond line"
)
IDS = [f"0199bd7e-6b1a-7cc1-9d6b-00000000000{n}" for n in range(5)]


def change(number, task, queue, state, at, **more):
    """Make the change of a task at a time."""
    return Transition(
        task_id=IDS[number],
        task=task,
        queue=queue,
        state=state,
        at=at,
        ttl=30 * 86400,
        **more,
    )


def changes(now):
    """Make what has happened in the last three days."""
    return (
        change(0, "orders.sync", "orders", TaskState.SUCCEEDED, now - 72 * HOUR, result=b"[1]"),
        change(
            1,
            "orders.sync",
            "orders",
            TaskState.FAILED,
            now - 2 * HOUR,
            error=ERROR,
            reason="retries-exhausted",
            attempt=5,
            meta={"tenant": "acme", "n": 17},
        ),
        change(2, "orders.check", "orders", TaskState.EXPIRED, now - HOUR, reason="expired"),
        change(
            3,
            "emails.send",
            "emails",
            TaskState.RETRYING,
            now - 300,
            next_run=now + HOUR,
            error="OSError",
        ),
        change(4, "emails.send", "emails", TaskState.RUNNING, now - 20),
    )


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """A command line in a directory with results.db and an application that reads it."""

    async def fill():
        backend = SqliteBackend(tmp_path / "results.db", SystemClock())
        await backend.open()
        now = SystemClock().time()
        for one in changes(now):
            await backend.transition([one])
        progress = Progress(fraction=0.4, message="half", at=now)
        await backend.report_progress([ProgressUpdate(task_id=IDS[4], progress=progress)])
        await backend.close()

    asyncio.run(fill())
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        cli.write(
            "shop.py",
            """
            from stem_amqp import Stem
            stem = Stem(broker_url="memory://shop", backend_url="sqlite:///results.db")
            """,
        )
        yield cli


def listed(cli, *words):
    """Return the places in `IDS` of the tasks that a command lists."""
    ran = cli("results", "shop:stem", "--json", *words)
    assert ran.code == 0, ran.err
    return [IDS.index(task["id"]) for task in ran.json["tasks"]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), [4, 3, 2, 1, 0]),
        (("--oldest-first",), [0, 1, 2, 3, 4]),
        (("--state", "failed,expired"), [2, 1]),
        (("--state", "failed", "--state", "running"), [4, 1]),
        (("--task", "orders.*"), [2, 1, 0]),
        (("--task", "orders.sync", "--task", "emails.*"), [4, 3, 1, 0]),
        (("--queue", "emails"), [4, 3]),
        (("--meta", "tenant=acme"), [1]),
        (("--meta", "n:=17"), [1]),
        (("--meta", "n=17"), []),
        (("--since", "90m"), [4, 3, 2]),
        (("--until", "90m"), [1, 0]),
        (("--since", "3h", "--until", "1m"), [3, 2, 1]),
        (("--updated-since", "1m"), [4]),
        (("--updated-until", "2000-01-01"), []),
        (("--since", "2000-01-01 00:00:00 UTC", "--state", "succeeded"), [0]),
    ],
)
def test_all_filters_can_be_typed(cli, words, expected):
    """Each means what it means in `stem.results.list`."""
    assert listed(cli, *words) == expected


def test_the_next_page_is_a_command(cli):
    """What is printed gets the next page as it is, with the same filters, until the last."""
    ran = cli(
        "results",
        "shop:stem",
        "--limit",
        "2",
        "--since",
        "30h",
        "--task",
        "*",
        "-Q",
        "emails,orders",
    )
    seen = [ran.out]
    assert "2 tasks, the newest first" in ran.err
    line = next(line for line in ran.err.splitlines() if line.startswith("next page: "))
    assert "'*'" in line
    program, *words = shlex.split(line.removeprefix("next page: "))
    assert program == "stem-amqp"
    ran = cli(*words)
    seen.append(ran.out)
    assert ran.code == 0
    assert "next page" not in ran.err
    assert [[id_ in out for id_ in reversed(IDS)] for out in seen] == [
        [True, True, False, False, False],
        [False, False, True, True, False],
    ]


def test_programs_get_the_cursor_and_the_whole_record(cli):
    """A task is the object of `stem-amqp result --json`."""
    first = cli(
        "results", "shop:stem", "--json", "--limit", "1", "--state", "failed,succeeded"
    ).json
    assert first["tasks"][0]["error"] == ERROR
    assert first["tasks"][0]["meta"] == {"tenant": "acme", "n": 17}
    one = cli("result", IDS[1], "--json", "--app", "shop:stem").json
    assert first["tasks"][0] == one
    assert listed(cli, "--state", "failed,succeeded", "--cursor", first["cursor"]) == [0]
    last = cli("results", "shop:stem", "--json", "--state", "failed").json
    assert last["cursor"] is None


def test_a_wide_terminal_gets_a_table(cli, monkeypatch):
    """One line each; the error's first line is shortened to the width, and steers no terminal."""
    monkeypatch.setenv("COLUMNS", "120")
    head, *lines = cli("results", "shop:stem").out.splitlines()
    assert head.split() == ["ID", "TASK", "QUEUE", "STATE", "ATTEMPT", "UPDATED", "DETAIL"]
    assert [line.split()[0] for line in lines] == IDS[::-1]
    assert max(map(len, lines)) <= 120
    running, retrying, expired, failed, succeeded = lines
    assert "40% half" in running
    assert "due in " in retrying
    assert retrying.split()[1:4] == ["emails.send", "emails", "retrying"]
    assert expired.split()[-4:] == ["1", "h", "ago", "expired"]
    assert failed.endswith("…")
    assert "ValueError: no such order" in failed
    assert succeeded.endswith("3 d ago")
    assert "\x1b" not in "".join(lines)


def test_a_narrow_terminal_gets_two_lines_a_task(cli):
    """Ids stay whole, to be copied."""
    out = cli("results", "shop:stem").out.splitlines()
    assert len(out) == 2 * len(IDS)
    assert max(map(len, out)) <= 80
    assert out[0] == f"running    {IDS[4]}  emails.send"
    assert out[6] == f"failed     {IDS[1]}  orders.sync"
    assert out[7].startswith("  2 h ago, queue orders, attempt 5: ValueError: no such order")
    assert out[7].endswith("…")
    assert out[9] == "  3 d ago, queue orders, attempt 0"


def test_a_pipe_gets_everything(cli, monkeypatch):
    """Nothing is cut where no terminal is."""
    monkeypatch.delenv("COLUMNS")
    out = cli("results", "shop:stem", "--state", "failed").out
    assert out.endswith("in the warehouse, nor in any other (retries-exhausted)\n")


def test_tasks_are_counted_by_state(cli):
    """In the order of a task's life, for people and for programs."""
    ran = cli("results", "shop:stem", "--count", "--task", "orders.*")
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines == [["STATE", "TASKS"], ["succeeded", "1"], ["failed", "1"], ["expired", "1"]]
    assert ran.err == "3 tasks\n"
    ran = cli("results", "shop:stem", "--count", "--json", "--queue", "emails")
    assert ran.json == {"counts": {"retrying": 1, "running": 1}, "total": 2}


def test_nothing_found_is_no_error(cli):
    """A list may be empty."""
    for words in ((), ("--count",)):
        ran = cli("results", "shop:stem", "--task", "nothing", *words)
        assert (ran.code, ran.out, ran.err) == (0, "", "no tasks\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--state", "failled"), "did you mean 'failed'?"),
        (("--since", "soon"), "'soon' is no time: write how long ago"),
        (("--limit", "0"), "greater than or equal to 1"),
        (("--cursor", "x"), "'x' is no cursor of a list"),
        (("--cursor", "x", "--count"), "goes without --cursor"),
        (("--meta", "tenant"), "write --meta"),
        (("--meta", "n:=nope"), "For a text write --meta n=…, without the colon"),
        (("--since", "1h", "--until", "2h"), "--since must be earlier than --until"),
        (("--updated-since", "1h", "--updated-until", "2h"), "--updated-until: "),
        (("--backend-url", "rpc://"), "there is nothing to ask"),
        (("--backend-url", "memory://"), "Set STEM_BACKEND_URL to a store"),
    ],
)
def test_what_cannot_be_listed_is_explained(cli, words, said):
    """One message with its remedy, and the code of wrong usage."""
    ran = cli("results", "shop:stem", *words)
    assert ran.code == 2
    assert said in " ".join(ran.err.replace("│", " ").split())
    assert ran.out == ""


def test_a_cursor_of_the_other_order_is_refused(cli):
    """It would skip or repeat tasks."""
    cursor = cli("results", "shop:stem", "--json", "--limit", "1").json["cursor"]
    ran = cli("results", "shop:stem", "--oldest-first", "--cursor", cursor)
    assert ran.code == 2
    assert "the other order" in ran.err


def test_a_store_that_does_not_answer_has_its_own_code(cli):
    """3, and the password stays hidden; a mistake in the command is told first."""
    url = ("--backend-url", "redis://someone:secret@localhost:1/0")
    ran = cli("results", "shop:stem", *url)
    assert ran.code == 3
    assert "secret" not in ran.err
    assert cli("results", "shop:stem", "--state", "bad", *url).code == 2


def test_the_next_page_gives_no_password_away(cli, monkeypatch):
    """The command is printed to logs too."""

    @asynccontextmanager
    async def store_of(app):
        assert "secret" in app.settings.backend_url.get_secret_value()
        backend = SqliteBackend(cli.folder / "results.db", SystemClock())
        await backend.open()
        yield backend
        await backend.close()

    monkeypatch.setattr(results, "store_of", store_of)
    ran = cli("results", "--limit", "1", "--backend-url", "redis://someone:secret@host/0")
    assert "next page: stem-amqp results --limit 1 --backend-url" in ran.err
    assert "someone:***@host" in ran.err
    assert "secret" not in ran.err
