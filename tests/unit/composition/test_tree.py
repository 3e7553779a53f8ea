"""The tree of a composition: what has become of its links and groups."""

import asyncio
import importlib
import re

import pytest
from cli_support import command_line

from stem_amqp import Stem, TaskState, graph, group
from stem_amqp.composition.tree import read_tree
from stem_amqp.errors import ResultUnavailableError
from stem_amqp.results.rpc.backend import RpcBackend


class Shop:
    """The tasks of the compositions."""

    def __init__(self, stem):
        @stem.task("add", max_retries=0)
        async def add(first: int, second: int) -> int:
            if second < 0:
                raise ValueError("negative")
            return first + second

        @stem.task("total")
        async def total(numbers: list[int]) -> int:
            return sum(numbers)

        self.add, self.total = add, total


@pytest.fixture
def stem_app():
    return Stem(broker_url="amqp://nobody@nowhere.invalid/")


@pytest.fixture
def shop(stem_app):
    return Shop(stem_app)


def lines(nodes, depth=0):
    """Return the nodes of a tree as text, one line each."""
    for node in nodes:
        state = node.record.state.value if node.record else "-"
        name = node.task or f"group {node.group.done if node.group else '-'}/{node.size}"
        yield f"{'  ' * depth}{node.role}{name} {state}"
        yield from lines(node.children, depth + 1)


async def test_a_tree_has_links_groups_and_members_with_their_states(shop, stem_app, stem_memory):
    """Those that are not enqueued yet too; any id of the composition will do."""
    first = shop.add.s(1, 2).on_success(shop.add.s(1))
    chain = first | group(shop.add.s(1), shop.add.s(2) | shop.add.s(3)) | shop.total.s()
    handle = await chain.enqueue()
    backend = stem_app.connected.backend
    before = await read_tree(backend, handle.id)
    assert [node.id for node in before.nodes] == [f"{handle.id}.{n}" for n in range(3)]
    assert [one.split()[-1] for one in lines(before.nodes)].count("-") == 6
    await stem_memory.run_due()
    tree = await read_tree(backend, f"{handle.id}.1.1.0")
    assert list(lines(tree.nodes)) == [
        "add succeeded",
        "  on_successadd succeeded",
        "group 2/2 -",
        "  add succeeded",
        "  add succeeded",
        "  thenadd succeeded",
        "total succeeded",
    ]


async def test_of_a_large_group_the_failed_members_are_shown(shop, stem_app, stem_memory):
    """With the number of the others."""
    members = [shop.add.s(1, -1 if number in {5, 7} else number) for number in range(150)]
    handle = await group(members, policy="collect").enqueue()
    await stem_memory.run_due()
    (node,) = (await read_tree(stem_app.connected.backend, handle.id)).nodes
    assert (node.size, node.group.failed, node.omitted) == (150, 2, 148)
    assert [(child.task, child.record.state) for child in node.children] == [
        ("add", TaskState.FAILED)
    ] * 2


async def test_a_batch_shows_its_members_and_callbacks(shop, stem_app, stem_memory):
    """Its size is that of now."""
    batch = stem_app.batch(on_complete=shop.add.si(1, 1))
    async with batch:
        await batch.add(shop.add.s(1, 2))
        (node,) = (await batch.tree()).nodes
        assert (node.size, node.group.sealed) == (1, False)
    await stem_memory.run_due()
    tree = await batch.tree()
    assert list(lines(tree.nodes)) == [
        "group 1/1 -",
        "  add succeeded",
        "  on_completeadd succeeded",
    ]
    assert tree.nodes[0].omitted == 0


async def test_a_link_alone_has_a_tree_of_one_task(shop, stem_app, stem_memory):
    """No shape is stored for it."""
    handle = await shop.add.s(1, 2).enqueue()
    (node,) = (await read_tree(stem_app.connected.backend, handle.id)).nodes
    assert (node.task, node.record.state) == ("add", TaskState.QUEUED)


async def test_an_unknown_composition_is_an_error(stem_app, stem_memory):
    """Looking for it stores nothing."""
    backend = stem_app.connected.backend
    for _ in range(2):
        with pytest.raises(ResultUnavailableError, match="there is no composition nothing"):
            await read_tree(backend, "nothing.0")
    stored = await backend.claim_key("composition:nothing", "me", ttl=1)
    assert stored.owner == "me"
    with pytest.raises(ResultUnavailableError, match="does not store what compositions look like"):
        await read_tree(RpcBackend.__new__(RpcBackend), "x")


APPLICATION = """
from stem_amqp import Stem, group

stem = Stem(broker_url="memory://tree", backend_url="sqlite:///results.db")


@stem.task("shop.orders.import_a_file_with_a_long_name", max_retries=0)
async def load(name: str) -> str:
    if name == "bad":
        raise ValueError("a long error " + "text " * 30)
    return name


@stem.task("shop.done")
async def done(names: list[str]) -> None: ...
"""


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Yield a command line in a directory with an application that has run a composition."""
    with command_line(capsys, monkeypatch, tmp_path) as run:
        run.write("treeshop.py", APPLICATION)
        yield run


async def compose(app):
    """Run a group of two, of which one fails, and a graph."""
    async with app.stem:
        members = group(app.load.s("good"), app.load.s("bad"))
        handle = await (members | app.done.s()).enqueue(id="import-1")
        async with app.stem.worker().running():
            with pytest.raises(Exception, match="link-failed"):
                await handle.result(timeout=60)
            order = {"load": app.load.s("good"), "done": app.done.s()}
            handle = await graph(order, depends_on={"done": ["load"]}).enqueue(id="order-1")
            await handle.result(timeout=60)


def test_the_command_fits_into_80_columns_and_has_json(cli, monkeypatch):
    """An unknown id is an error with the exit code 1."""
    monkeypatch.syspath_prepend(str(cli.folder))
    treeshop = importlib.import_module("treeshop")
    asyncio.run(compose(treeshop))
    monkeypatch.setenv("COLUMNS", "80")
    ran = cli("tree", "import-1", "--app", "treeshop:stem")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= 80
    assert re.search(r"group of 2 +2 of 2, 1 failed", ran.out)
    assert re.search(r"shop.done +failed +0 ", ran.out)
    assert [line.split()[1] for line in ran.out.splitlines() if "shop.orders" in line] == [
        "#0",
        "#1",
    ]
    assert "ValueError: a long error" in ran.out
    document = cli("tree", "import-1.0.1", "--app", "treeshop:stem", "--json").json
    assert document["id"] == "import-1"
    assert [node["id"] for node in document["nodes"]] == ["import-1.0", "import-1.1"]
    assert document["nodes"][0]["children"][1]["state"] == "failed"
    ran = cli("tree", "order-1", "--app", "treeshop:stem")
    assert re.search(r"group of 2 +2 of 2\n(.*\n)? +shop.+\n +after 0 +1 of 1", ran.out), ran.out
    ordered = cli("tree", "order-1", "--app", "treeshop:stem", "--json").json
    assert ordered["nodes"][0]["children"][1]["after"] == ["order-1.0.0"]
    few = cli("tree", "import-1", "--app", "treeshop:stem", "--members", "1", "--json").json[
        "nodes"
    ][0]
    assert (len(few["children"]), few["omitted"], few["failed"]) == (1, 1, 1)
    unknown = cli("tree", "import-2", "--app", "treeshop:stem")
    assert (unknown.code, "there is no composition import-2" in unknown.err) == (1, True)
