"""``stem-amqp results``: lists and counts from the command line, on a store in a file."""

import asyncio
import contextlib
import dataclasses
import shlex
import sqlite3
from contextlib import asynccontextmanager

import pytest
from cli_support import command_line

from stem_amqp.cli import results
from stem_amqp.clock import SystemClock
from stem_amqp.results.model import Progress, ProgressUpdate, Transition
from stem_amqp.results.sqlite.backend import SqliteBackend
from stem_amqp.states import TaskState

HOUR = 3600
ERROR = (
    "ValueError: no such order: \x1b[31m[order-42] in the warehouse, nor in any other\nsecond line"
)
IDS = [f"0199bd7e-6b1a-7cc1-9d6b-00000000000{n}" for n in range(5)]


def change(number, task, queue, state, at, **more):
    """Return the change of a task at a time."""
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
    """Return the changes of the last three days."""
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
    """Yield a command line in a directory with results.db and an application that reads it."""

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
    """Each filter has the meaning that it has in `stem.results.list`."""
    assert listed(cli, *words) == expected


def test_the_next_page_is_a_command(cli):
    """The printed command gets the next page with the same filters, up to the last page."""
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
    """A task has the JSON object of `stem-amqp result --json`."""
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
    """Each task is one line; the error's first line is cut to the width and has no escapes."""
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
    """Ids are shown whole, so that they can be copied."""
    out = cli("results", "shop:stem").out.splitlines()
    assert len(out) == 2 * len(IDS)
    assert max(map(len, out)) <= 80
    assert out[0] == f"running    {IDS[4]}  emails.send"
    assert out[6] == f"failed     {IDS[1]}  orders.sync"
    assert out[7].startswith("  2 h ago, queue orders, attempt 5: ValueError: no such order")
    assert out[7].endswith("…")
    assert out[9] == "  3 d ago, queue orders, attempt 0"


def test_a_pipe_gets_everything(cli, monkeypatch):
    """Nothing is cut unless the output is a terminal."""
    monkeypatch.delenv("COLUMNS")
    out = cli("results", "shop:stem", "--state", "failed").out
    assert out.endswith("in the warehouse, nor in any other (retries-exhausted)\n")


def test_tasks_are_counted_by_state(cli):
    """The order is that of a task's states, in the table and in JSON."""
    ran = cli("results", "shop:stem", "--count", "--task", "orders.*")
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines == [["STATE", "TASKS"], ["succeeded", "1"], ["failed", "1"], ["expired", "1"]]
    assert ran.err == "3 tasks\n"
    ran = cli("results", "shop:stem", "--count", "--json", "--queue", "emails")
    assert ran.json == {"counts": {"retrying": 1, "running": 1}, "total": 2}


def test_nothing_found_is_no_error(cli):
    """An empty list is a valid answer."""
    for words in ((), ("--count",)):
        ran = cli("results", "shop:stem", "--task", "nothing", *words)
        assert (ran.code, ran.out, ran.err) == (0, "", "no tasks\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--state", "failled"), "did you mean 'failed'?"),
        (("--since", "soon"), "'soon' is not a valid time: write how long ago"),
        (("--limit", "0"), "'--limit'"),
        (("--cursor", "x"), "'x' is not a cursor of a list"),
        (("--cursor", "x", "--count"), "cannot be used with --cursor"),
        (("--meta", "tenant"), "write --meta"),
        (("--meta", "n:=nope"), "For a string write --meta n=…, without the colon"),
        (("--since", "1h", "--until", "2h"), "--since must be earlier than --until"),
        (("--updated-since", "1h", "--updated-until", "2h"), "--updated-until: "),
        (("--backend-url", "rpc://"), "this command cannot read them"),
        (("--backend-url", "memory://"), "Set STEM_BACKEND_URL to a store"),
    ],
)
def test_what_cannot_be_listed_is_explained(cli, words, said):
    """The error is one message with its remedy, and the exit code of wrong usage."""
    ran = cli("results", "shop:stem", *words)
    assert ran.code == 2
    assert said in " ".join(ran.err.replace("│", " ").split())
    assert ran.out == ""


def test_a_cursor_of_the_other_order_is_refused(cli):
    """Such a cursor would skip or repeat tasks."""
    cursor = cli("results", "shop:stem", "--json", "--limit", "1").json["cursor"]
    ran = cli("results", "shop:stem", "--oldest-first", "--cursor", cursor)
    assert ran.code == 2
    assert "the other order" in ran.err


def test_a_store_that_does_not_answer_has_its_own_code(cli):
    """The code is 3, and the password is hidden; a mistake in the command is reported first."""
    url = ("--backend-url", "redis://someone:secret@localhost:1/0")
    ran = cli("results", "shop:stem", *url)
    assert ran.code == 3
    assert "secret" not in ran.err
    assert cli("results", "shop:stem", "--state", "bad", *url).code == 2


def test_the_next_page_reveals_no_password(cli, monkeypatch):
    """The printed command may be logged."""

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


def test_a_beginning_of_an_id_is_enough(cli):
    """A unique beginning is enough; an ambiguous one lists the ids, an unknown one is not found."""
    document = cli("result", IDS[1], "--json", "--app", "shop:stem").json
    store = SqliteBackend("results.db", SystemClock())

    async def add(*ids):
        await store.open()
        for one in ids:
            made = change(0, "orders.sync", "orders", TaskState.SUCCEEDED, SystemClock().time())
            await store.transition([dataclasses.replace(made, task_id=one)])
        await store.close()

    now = f"{int(SystemClock().time() * 1000):012x}"
    recent = f"{now[:8]}-{now[8:]}-7000-8000-000000000001"
    asyncio.run(add(recent, "order-42", "order-77"))
    for given, task_id in (
        (IDS[1][:35] + "1", IDS[1]),
        (recent[:13], recent),
        ("order-4", "order-42"),
    ):
        assert cli("result", given, "--json", "--app", "shop:stem").json["id"] == task_id
    assert document["id"] == IDS[1]
    ran = cli("result", IDS[1][:30], "--app", "shop:stem")
    assert ran.code == 2
    assert "5 ids begin with" in ran.err
    ran = cli("result", "order-9", "--app", "shop:stem")
    assert ran.code == 1
    assert "there is no record of task order-9" in ran.err


def test_a_record_that_cannot_be_read_is_named_and_hides_no_other(cli):
    """The list skips a record of another program, and `result` says why it shows nothing."""
    with contextlib.closing(sqlite3.connect("results.db")) as store, store:
        store.execute("UPDATE stem_tasks SET state = 'eaten' WHERE task_id = ?", (IDS[1],))
        store.execute("UPDATE stem_tasks SET result = x'ff' WHERE task_id = ?", (IDS[0],))
    ran = cli("results", "shop:stem", "--json")
    assert (ran.code, sorted(task["id"] for task in ran.json["tasks"])) == (0, [IDS[0], *IDS[2:]])
    shown = cli("result", IDS[1], "--app", "shop:stem")
    assert shown.code == 1
    assert f"the stored record of task {IDS[1]} cannot be read: ValueError: 'eaten'" in shown.err
    assert cli("result", IDS[0], "--app", "shop:stem").code == 0
