"""Commands that need no broker: tasks, topology, result, demo; and usage errors of the others."""

import asyncio
import textwrap

import pytest
from cli_support import command_line

from stem_amqp.clock import SystemClock
from stem_amqp.results.base import Progress, ProgressUpdate, Transition
from stem_amqp.results.sqlite.backend import SqliteBackend
from stem_amqp.states import TaskState

SHOP = """
    from stem_amqp import Stem
    stem = Stem(broker_url="memory://shop", topology="topology.yaml")

    @stem.task("orders.sync", max_retries=5, retry={"base": "1s", "max": "1m"}, rate_limit="10/s",
               time_limit="30s", soft_time_limit="20s", expires="1h", priority=3,
               tags=("erp",), idempotent=True)
    async def sync(order_id: str, force: bool = False) -> str:
        "Sync an order."
        return order_id

    @stem.task("emails.send")
    def send(to: str) -> None:
        "Send a mail."
"""
TOPOLOGY = """\
    version: 1
    namespace: shop
    queues:
      orders:
        retry: {max_retries: 9}
      emails:
        retry: {max_retries: 1, backoff: {base: 4s}}
    routes:
      - {match: "orders.*", queue: orders}
      - {match: "emails.*", queue: emails}
"""


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Yield a command line in a directory with an application and a topology."""
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        cli.write("shop.py", SHOP)
        cli.write("topology.yaml", TOPOLOGY)
        yield cli


def test_tasks_says_what_topology_and_settings_decide(cli):
    """The queue comes from the routes; retries come from the task, or else from its queue."""
    emails, orders = cli("tasks", "shop:stem", "--json").json["tasks"]
    assert (orders["name"], orders["queue"], orders["max_retries"]) == ("orders.sync", "orders", 5)
    assert orders["retry"] == {"base": 1, "factor": 2, "max": 60, "jitter": 0.25}
    assert (orders["rate_limit"], orders["time_limit"], orders["expires"]) == ("10/s", 30, 3600)
    assert orders["arguments"] == "(order_id: str, force: bool = False)"
    assert (emails["queue"], emails["max_retries"], emails["retry"]["base"]) == ("emails", 1, 4)


def test_tasks_is_a_table_that_fits_the_terminal(cli):
    """Names are printed whole, and long texts are wrapped."""
    lines = cli("tasks", "shop:stem").out.splitlines()
    assert lines[0].split() == ["TASK", "QUEUE", "RETRIES", "LIMITS", "ABOUT"]
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "orders.sync" in text
    assert "Send a mail." in text


def test_validate_says_what_is_right(cli):
    """A valid file gets one line, and needs no broker."""
    ran = cli("topology", "validate", "topology.yaml")
    assert ran.code == 0
    assert ran.out.startswith("topology.yaml, namespace shop: 16 exchanges, ")
    assert ran.out.endswith("; no warnings\n")


def test_validate_prints_every_mistake_with_its_line(cli):
    """One run reports all mistakes, each with file, line, key and remedy."""
    cli.write("wrong.yaml", "version: 1\nqueues:\n  orders:\n    prefech: 1\n    ttl: 2 sec\n")
    ran = cli("topology", "validate", "wrong.yaml")
    assert ran.code == 1
    assert (
        "error: wrong.yaml:4: queues.orders.prefech: unknown key; did you mean prefetch?" in ran.err
    )
    assert "error: wrong.yaml:5: queues.orders.ttl" in ran.err
    assert ran.err.count("error: ") == 2
    assert ran.err.endswith("2 mistakes\n")
    document = cli("topology", "validate", "wrong.yaml", "--json").json
    assert document["valid"] is False
    assert [m["line"] for m in document["mistakes"]] == [4, 5]
    assert document["mistakes"][0]["key"] == "queues.orders.prefech"


def test_validate_finds_the_mistakes_of_an_applications_own_file(cli):
    """With --app the application's file is checked, even if its import fails."""
    cli.write("topology.yaml", TOPOLOGY + "    extra: 1\n")
    ran = cli("topology", "validate", "--app", "shop:stem")
    assert ran.code == 1
    assert "extra: unknown key" in ran.err


def test_warnings_count_only_where_that_is_asked_for(cli):
    """Warnings change the exit code with --strict only."""
    cli.write("short.yaml", "version: 1\nqueues:\n  orders: {ttl: 5s}\n")
    ran = cli("topology", "validate", "short.yaml")
    assert ran.code == 0
    assert "warning: queues.orders.ttl" in ran.err
    assert cli("topology", "validate", "short.yaml", "--strict").code == 1
    assert cli("topology", "validate", "short.yaml", "--strict", "--json").json["valid"] is False


def test_validate_without_a_file_asks_for_one(cli):
    """A missing argument is a usage error, not a valid file."""
    ran = cli("topology", "validate")
    assert ran.code == 2
    assert "STEM_TOPOLOGY" in ran.err
    assert cli("topology", "validate", "nowhere.yaml").code == 1


def test_show_hides_what_delays_are_made_of_unless_asked(cli):
    """By default five of about ninety entities are shown."""
    ran = cli("topology", "show", "topology.yaml")
    assert ran.code == 0
    assert "shop.orders.dlq" in ran.out
    assert "shop.delay" not in ran.out
    assert "80 exchanges and queues of the delays: --all" in ran.out
    assert "shop.zz-delay.0000030.0s" in cli("topology", "show", "topology.yaml", "--all").out
    document = cli("topology", "show", "topology.yaml", "--json", "--namespace", "other").json
    assert document["namespace"] == "other"
    assert {"other.orders", "other.unroutable"} <= {queue["name"] for queue in document["queues"]}
    assert {"source", "destination", "key", "to_exchange", "arguments"} == set(
        document["bindings"][0]
    )


def test_schema_is_the_file_for_editors(cli):
    """The output is a JSON Schema."""
    assert cli("topology", "schema").json["title"] == "stem-amqp topology"


@pytest.mark.parametrize(
    "words",
    [
        ("queues", "shop:stem"),
        ("health", "shop:stem"),
        ("enqueue", "orders.sync", "--app", "shop:stem", "--args", '{"order_id": "1"}'),
        ("dlq", "list", "orders", "--app", "shop:stem"),
        ("topology", "apply", "--app", "shop:stem"),
    ],
)
def test_an_in_memory_broker_cannot_be_looked_into_from_outside(cli, words):
    """The command reports an error instead of an empty answer."""
    ran = cli(*words)
    assert ran.code == 2
    assert "exists in one process only" in ran.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--args", "{x}"), "--args is not valid JSON"),
        (("--meta", "x"), "--meta 'x' is not a pair"),
        (("--eta", "tomorrow"), "--eta tomorrow is not a valid time"),
        (("--eta", "2030-01-01T10:00:00"), "has no time zone: append Z"),
        (("--delay", "soon"), "'soon' is not a valid duration"),
        (("--priority", "300"), "--priority"),
        (("--timeout", "3"), "'3' is not a valid duration"),
    ],
)
def test_enqueue_refuses_what_it_cannot_read(cli, words, says):
    """Nothing is sent, and the error names the mistake."""
    ran = cli("enqueue", "orders.sync", *words)
    assert ran.code == 2
    assert says in ran.err


def test_enqueue_knows_the_tasks_of_its_application(cli, monkeypatch):
    """Unknown tasks and arguments that do not fit are refused before anything is sent."""
    monkeypatch.setenv("STEM_BROKER_URL", "amqp://127.0.0.1:1/")
    cli.write("shop.py", SHOP.replace('broker_url="memory://shop", ', ""))
    ran = cli("enqueue", "orders.synk", "--app", "shop:stem")
    assert ran.code == 2
    assert "did you mean 'orders.sync'?" in ran.err
    assert "The application has emails.send, orders.sync: import" in ran.err
    ran = cli("enqueue", "orders.sync", "--app", "shop:stem", "--args", '{"order": 1}')
    assert ran.code == 2
    assert "invalid arguments for orders.sync" in ran.err
    assert "It takes (order_id: str, force: bool = False)." in ran.err


def test_enqueue_refuses_a_delay_of_a_debounced_task_in_its_own_words(cli, monkeypatch):
    """The error names the option of the command, and none of Python."""
    monkeypatch.setenv("STEM_BROKER_URL", "amqp://127.0.0.1:1/")
    text = SHOP.replace('broker_url="memory://shop", ', "")
    task = '\n@stem.task("index.update", debounce="5s")\nasync def update() -> None: ...\n'
    cli.write("shop.py", textwrap.dedent(text) + task)
    for name, value in (("delay", "30s"), ("eta", "2030-01-01T10:00:00Z")):
        ran = cli("enqueue", "index.update", "--app", "shop:stem", f"--{name}", value)
        assert ran.code == 2
        assert f"is debounced: its wait is its delay.\n  Leave --{name} out." in ran.err
        assert "debounce=False" not in ran.err


def test_a_dead_broker_is_named_with_the_remedy(cli):
    """Every command that needs a broker names its address, without the password."""
    url = "amqp://me:secret@127.0.0.1:1/"
    for words in (
        ("queues",),
        ("enqueue", "orders.sync"),
        ("dlq", "list", "orders"),
        ("topology", "apply", "topology.yaml"),
    ):
        ran = cli(*words, "--broker-url", url)
        assert ran.code == 3
        assert "127.0.0.1:1: nothing listens there" in ran.err
        assert "STEM_BROKER_URL" in ran.err
        assert "secret" not in ran.err
        assert len(ran.err.splitlines()) <= 3


def test_a_bad_url_is_refused_before_anything_is_tried(cli):
    """The error names the variable and shows the form of a URL."""
    ran = cli("queues", "--broker-url", "localhost:5672")
    assert ran.code == 2
    assert "STEM_BROKER_URL: it is not a URL" in ran.err


@pytest.mark.parametrize("url", ["rpc://", "memory://"])
def test_results_that_are_nowhere_to_be_read_are_explained(cli, url):
    """With rpc:// only the process that enqueued the task gets the reply."""
    ran = cli("result", "some-id", "--backend-url", url)
    assert ran.code == 2
    assert "this command cannot read them" in ran.err
    assert "sqlite:///results.db" in ran.err


@pytest.fixture
def stored(cli):
    """Store changes of a task in results.db."""
    path = cli.folder / "results.db"

    def store(*changes):
        async def write():
            backend = SqliteBackend(path, SystemClock())
            await backend.open()
            for change in changes:
                if isinstance(change, ProgressUpdate):
                    await backend.report_progress([change])
                else:
                    await backend.transition([change])
            await backend.close()

        asyncio.run(write())

    store()
    return store


def transition(state, **more):
    """Return a change of one task."""
    at = SystemClock().time()
    return Transition(
        task_id="id-1", task="orders.sync", queue="orders", state=state, at=at, **more
    )


URL = ("--backend-url", "sqlite:///results.db")


def test_a_result_is_shown_with_its_story(cli, stored):
    """The output has state, result, times, worker and the caller's metadata."""
    ended = {"attempt": 1, "result": b'{"ok":true}', "worker": "w1", "meta": {"request": "r1"}}
    stored(transition(TaskState.QUEUED), transition(TaskState.SUCCEEDED, **ended))
    ran = cli("result", "id-1", *URL)
    assert ran.code == 0
    assert ran.out.startswith("orders.sync  id-1\n")
    for line in ("state    succeeded", 'result   {"ok":true}', "attempt  1", "worker   w1"):
        assert line in ran.out
    document = cli("result", "id-1", "--json", *URL).json
    assert document["result"] == {"ok": True}
    assert document["meta"] == {"request": "r1"}
    assert document["created_at"].endswith("Z")
    assert cli("result", "id-1", "--timeout", "5s", "--json", *URL).json == document


def test_a_failed_task_is_a_no(cli, stored):
    """Its error and traceback are shown, and the exit code is that of a negative answer."""
    stored(
        transition(
            TaskState.FAILED,
            reason="retries-exhausted",
            error="ValueError: [x]",
            traceback="Trace\n",
        )
    )
    ran = cli("result", "id-1", *URL)
    assert ran.code == 1
    assert "error    ValueError: [x]" in ran.out
    assert ran.out.endswith("\n    Trace\n")
    assert cli("result", "id-1", "--json", *URL).code == 1


def test_progress_is_shown_while_a_task_runs(cli, stored):
    """A running task is not a failure."""
    stored(
        transition(TaskState.RUNNING),
        ProgressUpdate(
            task_id="id-1",
            progress=Progress(fraction=0.4, message="half", at=SystemClock().time()),
        ),
    )
    ran = cli("result", "id-1", *URL)
    assert ran.code == 0
    assert "progress  40% half (now)" in ran.out
    assert cli("result", "id-1", "--json", *URL).json["progress"]["fraction"] == 0.4


def test_an_unknown_id_and_a_late_one_have_their_own_codes(cli, stored):
    """The exit code is 1 for an unknown id, and 4 for a task that did not end in time."""
    stored()
    ran = cli("result", "id-2", *URL)
    assert ran.code == 1
    assert "there is no record of task id-2" in ran.err
    stored(transition(TaskState.RUNNING))
    ran = cli("result", "id-1", "--timeout", "50ms", *URL)
    assert ran.code == 4
    assert "did not end within 50 ms" in ran.err


def test_the_demo_says_where_it_is(cli):
    """The demo is in the repository, not in the package."""
    ran = cli("demo")
    assert ran.code == 2
    assert "Clone it" in ran.err


def test_the_demo_gets_its_options_and_returns_its_exit_code(cli):
    """The exit code of the command is that of the demo."""
    cli.write("examples/__init__.py", "")
    cli.write("examples/orders/__init__.py", "")
    cli.write("examples/orders/demo.py", "import sys; print(*sys.argv[1:]); sys.exit(7)")
    with cli.process("demo", "--orders", 3, "--broker", "amqp://x/") as process:
        assert process.wait(timeout=60) == 7
    assert cli.log() == "--orders 3 --broker amqp://x/\n"


def test_a_worker_refuses_unnamed_queues(cli):
    """A worker with a misspelt queue name would wait for tasks that never come."""
    ran = cli("worker", "shop:stem", "-Q", "orders,emials")
    assert ran.code == 2
    assert "names a queue 'emials'; did you mean emails?" in ran.err
    assert "Known queues: orders, emails." in ran.err


def test_a_worker_without_tasks_says_what_to_import(cli):
    """A worker whose task modules were never imported would dead-letter every message."""
    cli.write("empty.py", "from stem_amqp import Stem\nstem = Stem()\n")
    ran = cli("worker", "empty:stem")
    assert ran.code == 2
    assert "empty:stem has no tasks" in ran.err


def test_watching_and_one_document_exclude_each_other(cli):
    """--json prints one document, and --watch prints several."""
    ran = cli("queues", "--watch", "--json")
    assert ran.code == 2
    assert "with --watch" in ran.err


@pytest.mark.parametrize("words", [("purge", "orders"), ("purge", "orders", "--task", "a.*")])
def test_an_unknown_reason_is_refused_before_the_broker_is_asked(cli, words):
    """A misspelt reason must not select nothing, or everything."""
    url = ("--broker-url", "amqp://127.0.0.1:1/")
    ran = cli("dlq", *words, "--reason", "retry-exhausted", "--yes", *url)
    assert ran.code == 2
    assert "did you mean 'retries-exhausted'?" in ran.err
