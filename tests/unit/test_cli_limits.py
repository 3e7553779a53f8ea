"""``stem-amqp limits``: the limits across workers, on a store in a file."""

import asyncio

import pytest
from cli_support import command_line

from stem_amqp.cli import limits
from stem_amqp.clock import SystemClock
from stem_amqp.durations import Rate
from stem_amqp.limits.base import Ask, Wanted, limit_key
from stem_amqp.results.sqlite.backend import SqliteBackend

APPLICATION = """
    from stem_amqp import Limit, Stem

    stem = Stem(broker_url="memory://shop", backend_url="sqlite:///results.db", namespace="shop")

    @stem.task("orders.sync", limits=[Limit("1/m", by="meta.tenant"), Limit(concurrency=2)])
    async def sync() -> None: ...

    @stem.task("mails.send", rate_limit="10/s")
    async def send() -> None: ...
"""
SYNC = "shop/task:orders.sync"


def asks(count, name, value=None, **limit):
    """Return asks for a limit, as workers name it."""
    wanted = Wanted(key=limit_key(name, value), **limit)
    return [Ask(token=f"{name}-{value}-{number}", wants=(wanted,)) for number in range(count)]


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Yield a command line in a directory with an application, whose store has limits in use."""

    async def fill():
        backend = SqliteBackend(tmp_path / "results.db", SystemClock(), "shop")
        await backend.open()
        store = backend.limits()
        await store.open()
        rate = Rate(count=1, period=60.0)
        await store.ask(asks(9, f"{SYNC} /m meta.tenant", "acme", rate=rate))
        await store.ask(asks(1, f"{SYNC} /m meta.tenant", "\x1b[31mred", rate=rate))
        await store.ask(asks(1, f"{SYNC} /m meta.tenant", "", rate=rate))
        await store.ask(asks(2, f"{SYNC} at once", concurrency=2))
        await store.ask(asks(1, "shop/task:gone at once", concurrency=3))
        await store.close()
        await backend.close()

    asyncio.run(fill())
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        cli.write("shop.py", APPLICATION)
        yield cli


def listed(cli, *words):
    """Return the limits that a command prints as JSON."""
    ran = cli("limits", "--json", *words)
    assert ran.code == 0, ran.err
    return ran.json["limits"]


def test_limits_in_use_and_idle_ones_of_the_application(cli):
    """Those that tasks wait for come first; idle ones of the application are listed too."""
    rows = listed(cli, "shop:stem")
    assert rows[0] | {"backlog": 0} == {
        "limit": "task:orders.sync /m meta.tenant",
        "key": "acme",
        "allowed": "1/m by meta.tenant",
        "running": 0,
        "waiting": 8,
        "backlog": 0,
        "mean_duration": None,
    }
    assert 480 < rows[0]["backlog"] <= 540
    by_name = {(row["limit"], row["key"]): row for row in rows}
    once = by_name["task:orders.sync at once", None]
    assert (once["allowed"], once["running"]) == ("2 at once", 2)
    idle = by_name["task:mails.send /s", None]
    assert (idle["allowed"], idle["running"], idle["waiting"]) == ("10/s", 0, 0)
    assert by_name["task:gone at once", None]["allowed"] is None
    assert len(rows) == 6


def test_without_an_application_the_settings_name_the_store(cli):
    """Then only limits in use are listed, without what they allow."""
    rows = listed(cli, "--backend-url", "sqlite:///results.db", "--namespace", "shop")
    assert len(rows) == 5
    assert {row["allowed"] for row in rows} == {None}


def test_the_table_shows_no_control_characters(cli, monkeypatch):
    """A key comes from a message, and may contain anything."""
    monkeypatch.setenv("COLUMNS", "160")
    ran = cli("limits", "shop:stem")
    assert ran.code == 0
    heading, first, *rest = ran.out.splitlines()
    assert heading.split() == "LIMIT KEY ALLOWED RUNNING WAITING NEXT MEAN".split()  # noqa: SIM905
    assert "acme" in first
    assert " in " in first
    assert "\x1b" not in ran.out
    assert any("(no key)" in line for line in rest)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--name", "*at once"), 2),
        (("--key", "ac*"), 1),
        (("--name", "task:orders.*", "--key", "acme"), 1),
        (("--name", "nothing"), 0),
    ],
)
def test_globs_select_limits_and_keys(cli, words, expected):
    """An operator looks for one tenant, or one limit."""
    assert len(listed(cli, "shop:stem", *words)) == expected


def test_a_long_list_is_cut_and_says_so(cli, monkeypatch):
    """With a limit for each tenant there may be a million."""
    monkeypatch.setenv("COLUMNS", "160")
    ran = cli("limits", "shop:stem", "--limit", "2")
    assert len(ran.out.splitlines()) == 3
    assert "4 more: use --name, --key or --limit" in ran.err
    assert cli("limits", "shop:stem", "--limit", "2", "--json").json["more"] is True


def test_nothing_in_use_is_said(cli):
    """An empty table would leave doubts."""
    ran = cli("limits", "--backend-url", "sqlite:///empty.db")
    assert (ran.code, ran.out) == (0, "")
    assert "no limits are in use" in ran.err
    assert "no such limits" in cli("limits", "shop:stem", "--name", "x").err


def test_a_backend_without_a_store_is_refused_with_the_remedy(cli):
    """A reply goes to one process only."""
    ran = cli("limits", "--backend-url", "rpc://")
    assert ran.code != 0
    assert "STEM_BACKEND_URL" in ran.err


def test_the_documented_fields_are_those_of_json(cli):
    """Scripts read them."""
    for row in listed(cli, "shop:stem"):
        assert all(f"``{field}``" in limits.__doc__ for field in row)
