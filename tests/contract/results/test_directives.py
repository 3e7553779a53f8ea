"""Directives in the backends that keep keys: no change is lost, whoever makes it, and each can be read back."""

import asyncio

import pytest

from stem_amqp.directives import document as document_module
from stem_amqp.directives import in_backend
from stem_amqp.directives.document import Document, Entry
from stem_amqp.directives.in_backend import BackendStore
from stem_amqp.directives.model import Directive, Kind, Target, new_nonce
from stem_amqp.errors import BackendError, ConfigurationError, DecodeError

pytestmark = pytest.mark.parametrize(
    "kind", ["memory", "sqlite", "redis", "postgresql"], indirect=True
)

NOW = 1_000_000.0


def entry(task, **fields):
    """Return an unsigned pause of a task's name."""
    one = Directive(
        kind=Kind.PAUSE, target=Target(task=task), nonce=new_nonce(), **({"at": NOW} | fields)
    )
    return Entry(one.encode(), None, one)


def store_of(backend, sides, namespace=None, accepts=lambda _: True):
    """Return the store of directives in a backend."""
    return BackendStore(backend, "kind", namespace or sides.namespace, accepts)


@pytest.fixture
def stores(sides):
    """Return the stores of two processes."""
    return [store_of(backend, sides) for backend in (sides.producer, sides.worker)]


async def add(store, *entries):
    """Store directives, each by a change of its own."""
    for one in entries:
        await store.change(lambda document, one=one: document.add(one, NOW))


def tasks(document):
    """Return the globs of task names that are paused."""
    return sorted(one.target.task for one in document.directives if not one.withdrawn)


async def test_nothing_is_stored_at_first(stores):
    """A reader of an unused key gets an empty document, and does not prevent a later change."""
    assert [await store.read() for store in stores] == [Document(), Document()]
    await add(stores[0], entry("a"))
    assert tasks(await stores[1].read()) == ["a"]


async def test_a_change_is_read_back_as_it_was_made(stores):
    """Every byte is kept, also of the history, and of what the next change does not touch."""
    one = entry("é.*\x00", reason="why ☃", by="ann@host", expires=NOW + 60)
    signed = Entry(one.body, "k1 hmac:x 1 n -", one.directive)
    changed = await stores[0].change(lambda document: document.add(signed, NOW))
    read = await stores[1].read()
    assert read == changed
    assert read.encode() == changed.encode()
    assert list(read.entries.values()) == [signed]
    await add(stores[1], entry("b", at=NOW + 1))
    again = await stores[0].read()
    assert signed in again.entries.values()
    assert [one.directive.target.task for one in again.history] == ["é.*\x00", "b"]


async def test_a_withdrawal_replaces_a_directive(stores):
    """It stays stored, so that an old copy of the directive does not come back."""
    await add(stores[0], entry("a"))
    await add(stores[1], entry("a", at=NOW + 1, withdrawn=True))
    read = await stores[0].read()
    assert (tasks(read), len(read.entries), len(read.history)) == ([], 1, 2)


async def test_of_many_changes_at_once_none_is_lost(sides, stores):
    """Three processes change the document at the same moment, some of them the same directive."""
    stores = [*stores, store_of(await sides.another(), sides)]
    await asyncio.gather(
        *(add(stores[n % 3], entry(f"t{n}"), entry("same", at=NOW + n)) for n in range(12))
    )
    documents = [await store.read() for store in stores]
    assert len({document.encode() for document in documents}) == 1
    assert tasks(documents[0]) == sorted(["same", *(f"t{n}" for n in range(12))])
    assert len(documents[0].history) == 24
    same = next(one for one in documents[0].directives if one.target.task == "same")
    assert same.at == NOW + 11


async def test_a_change_that_is_always_outdated_is_refused_with_the_remedy(stores, monkeypatch):
    """The other changes are kept, and the caller knows that its own was not made."""
    monkeypatch.setattr(in_backend, "ATTEMPTS", 3)
    number = 0

    async def swap(expected, value):
        nonlocal number
        number += 1
        await add(stores[1], entry(f"other{number}"))
        return await own(expected, value)

    own = stores[0]._swap
    monkeypatch.setattr(stores[0], "_swap", swap)
    with pytest.raises(BackendError, match=r"not changed: .* 3 times meanwhile\n  Try again"):
        await add(stores[0], entry("own"))
    assert tasks(await stores[0].read()) == ["other1", "other2", "other3"]


async def test_a_change_that_raises_changes_nothing(stores):
    """The error reaches the caller as it is."""
    await add(stores[0], entry("a"))
    before = await stores[0].read()

    def change(_):
        raise ConfigurationError("no")

    with pytest.raises(ConfigurationError, match="no"):
        await stores[0].change(change)
    assert await stores[1].read() == before


async def test_directives_survive_new_connections(sides, stores):
    """A process that starts later reads what one that has ended has stored."""
    await add(stores[0], entry("a"))
    await sides.producer.close()
    await sides.worker.close()
    later = store_of(await sides.another(), sides)
    assert tasks(await later.read()) == ["a"]
    await add(later, entry("b"))
    assert tasks(await store_of(await sides.another(), sides).read()) == ["a", "b"]


async def test_directives_are_kept_long_after_results(sides, stores):
    """The time to live of results, and the removal of what has expired, do not concern them."""
    await add(stores[0], entry("a"))
    sides.clock.advance(400 * 86_400)
    await sides.worker.purge_expired()
    assert tasks(await stores[1].read()) == ["a"]


async def test_each_namespace_has_its_own_directives(sides, stores):
    """Also where the backend itself has no namespaces."""
    other = store_of(sides.producer, sides, namespace=f"{sides.namespace}-other")
    await add(stores[0], entry("a"))
    assert tasks(await other.read()) == []
    await add(other, entry("b"))
    assert tasks(await stores[1].read()) == ["a"]


async def test_what_a_process_cannot_verify_is_kept_for_others(sides, stores):
    """A process without a key does not obey an entry, and does not remove it by a change either."""
    await add(stores[0], entry("a"))
    strict = store_of(sides.worker, sides, accepts=lambda one: one.directive.target.task != "a")
    assert tasks(await strict.read()) == []
    await add(strict, entry("b"))
    assert tasks(await strict.read()) == ["b"]
    assert tasks(await stores[0].read()) == ["a", "b"]


async def test_a_full_document_refuses_what_is_new_and_can_be_emptied(stores, monkeypatch):
    """The error names the number, the limit and the remedy, and nothing stored is lost."""
    monkeypatch.setattr(document_module, "ENTRIES", 2)
    await add(stores[0], entry("a"), entry("b", expires=NOW + 60))
    with pytest.raises(ConfigurationError, match=r"there are 2 .* and 2 .* in 1 min\n  Withdraw"):
        await add(stores[1], entry("c"))
    assert tasks(await stores[1].read()) == ["a", "b"]
    await add(stores[1], entry("a", at=NOW + 1, withdrawn=True))
    assert tasks(await stores[0].read()) == ["b"]
    await add(stores[1], entry("b", at=NOW + 1, reason="another one"))


async def test_a_document_of_the_largest_size_is_stored_and_one_larger_is_refused(stores):
    """The backends store documents of some megabytes; none was cut."""
    one = entry("t1000", workers=("x" * 3700,))
    number = document_module.BYTES // one.size
    entries = [entry(f"t{n}", workers=("x" * 3700,)) for n in range(1000, 1000 + number)]
    full = Document(entries={one.directive.identity: one for one in entries})
    size = len((await stores[0].change(full.merge)).encode())
    assert size > 0.99 * document_module.BYTES
    assert len((await stores[1].read()).entries) == number
    with pytest.raises(
        ConfigurationError, match=rf"there are {number} .*\({document_module.BYTES} bytes\)"
    ):
        await add(stores[1], entry("t2", workers=("x" * 3700,)))
    assert len((await stores[0].read()).encode()) == size


async def test_what_is_no_document_is_an_error_and_is_not_overwritten(sides, stores):
    """A later release may have written it."""
    key = f"directives:{sides.namespace}"
    await sides.producer.swap_key(key, "directives", ttl=60, expected=None, value=b'{"v":2}')
    with pytest.raises(DecodeError, match="no document of directives of a version"):
        await stores[0].read()
    with pytest.raises(DecodeError, match="no document of directives of a version"):
        await add(stores[1], entry("a"))
    found = await sides.worker.claim_key(key, "directives", ttl=60)
    assert found.value == b'{"v":2}'
