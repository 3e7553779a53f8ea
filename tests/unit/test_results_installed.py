"""Result backends of installed packages."""

import sys

import pytest
from support import write_distribution

from stem_amqp import Stem
from stem_amqp.clock import SystemClock
from stem_amqp.errors import ConfigurationError
from stem_amqp.results import factory
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport

MODULE = """
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore

class ShelfBackend(MemoryBackend):
    pass

def shelf(parts):
    return ShelfBackend(MemoryStore.named(parts.rest), parts.clock)

def nothing(parts):
    return None

number = 7
"""


def create(url):
    """Return a backend that is created as an application does."""
    transport = MemoryTransport(MemoryBroker())
    return factory.create(
        url, clock=SystemClock(), transport=transport, names=Names("stem"), ttl=60.0
    )


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install packages for the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(factory, "_registered", {})
    (tmp_path / "shelf_for_stem.py").write_text(MODULE)
    (tmp_path / "broken_for_stem.py").write_text("import a_library_that_is_not_there")
    yield lambda name, **backends: write_distribution(tmp_path, name, backends)
    for module in ("shelf_for_stem", "broken_for_stem"):
        sys.modules.pop(module, None)
    MemoryStore.forget("name")


def test_an_installed_backend_is_imported_when_its_scheme_is_asked_for_and_not_before(install):
    """An unused backend is not imported."""
    install("stem-shelf", shelf="shelf_for_stem:shelf")
    create("memory://name")
    with pytest.raises(ConfigurationError):
        create("shelves://name")
    assert "shelf_for_stem" not in sys.modules
    backend = create("shelf://name")
    assert type(backend).__name__ == "ShelfBackend"
    assert backend._store is MemoryStore.named("name")


async def test_an_application_uses_an_installed_backend_by_its_url_alone(install):
    """Only STEM_BACKEND_URL has to be set."""
    install("stem-shelf", shelf="shelf_for_stem:shelf")
    stem = Stem(broker_url="memory://installed-backend", backend_url="shelf://name")

    @stem.task("double")
    async def double(number: int) -> int:
        return 2 * number

    async with stem, stem.worker().running():
        handle = await double.enqueue(4)
        assert await handle.result(timeout=60) == 8
    assert len(MemoryStore.named("name").tasks) == 1


def test_the_error_for_an_unknown_scheme_names_what_is_installed(install):
    """The error tells a typo from a missing package."""
    install("stem-shelf", shelf="shelf_for_stem:shelf")
    with pytest.raises(
        ConfigurationError, match=r"rpc://, shelf://, sqlite://\. Did you mean shelf://\?"
    ):
        create("shelv://name")


def test_a_package_cannot_take_over_a_built_in_scheme_nor_a_registered_one(install):
    """An installed package does not replace a backend that works without it."""
    install("stem-shelf", memory="broken_for_stem:shelf", shelf="broken_for_stem:shelf")
    assert type(create("memory://name")) is MemoryBackend
    factory.register("shelf", lambda parts: MemoryBackend(MemoryStore(), parts.clock))
    assert type(create("shelf://name")) is MemoryBackend
    assert "broken_for_stem" not in sys.modules


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (
            "broken_for_stem:shelf",
            r"stem-shelf \(broken.*:shelf\) cannot be .*library_that_is_not(?s:.)*Reinstall stem-shelf",
        ),
        ("shelf_for_stem:shell", r"stem-shelf .*cannot be imported: AttributeError: .*'shell'"),
        ("no_such_module_for_stem:shelf", r"stem-shelf .*cannot be imported: ModuleNotFoundError"),
        ("shelf_for_stem:number", "stem-shelf .*is a int, not a function"),
        ("shelf_for_stem:nothing", "shelf://.* made a NoneType, which is not a ResultBackend"),
    ],
)
def test_a_package_that_is_broken_is_named(install, target, words):
    """The error names the package, and shows no password."""
    install("stem-shelf", shelf=target)
    with pytest.raises(ConfigurationError, match=words) as caught:
        create("shelf://:geheim@name")
    assert "geheim" not in str(caught.value)


def test_two_packages_with_one_scheme_are_named(install):
    """The error does not choose one of them."""
    install("stem-shelf", shelf="shelf_for_stem:shelf")
    install("other-shelf", shelf="shelf_for_stem:shelf")
    with pytest.raises(
        ConfigurationError, match=r"other-shelf and stem-shelf both provide.*shelf://"
    ):
        create("shelf://name")
