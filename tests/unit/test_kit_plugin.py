"""The pytest plugin as users have it: their module, their configuration, their tests."""

import pytest

from stem_amqp.testing import plugin

SHOP = """
from stem_amqp import Stem

stem = Stem(broker_url="amqp://nobody@nowhere.invalid/")

@stem.task("shop.pay")
async def pay(order: int) -> int:
    return order

async def checkout(order):
    return await pay.enqueue(order)
"""
TESTS = """
import pytest
from shop import checkout, pay, stem

@pytest.fixture
async def paid(stem_memory):
    return await checkout(1)

async def test_async(paid, stem_memory, stem_clock):
    stem_memory.assert_enqueued(pay, 1)
    assert stem_memory.clock is stem_clock
    assert len(await stem_memory.run_due()) == 1
    assert await paid.result() == 1

def test_sync(stem_memory):
    pay.enqueue_blocking(2)
    stem_memory.assert_enqueued(pay, 2)
    stem_memory.run_due_blocking(raise_errors=True)

async def test_fails(stem_memory):
    await checkout(3)
    stem_memory.assert_enqueued(pay, order=5)
"""
INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
pythonpath = .
stem_app = shop:stem
"""


def test_the_configuration_names_the_application(pytester):
    """Asynchronous and synchronous tests work, and a failure shows no line of the plugin."""
    pytester.makepyfile(shop=SHOP, test_shop=TESTS)
    pytester.makefile(".ini", pytest=INI)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: expected: shop.pay(order=5)",
            "E*  - shop.pay(order=3) to queue default",
            "E*      order: expected 5, got 3",
        ]
    )
    assert "enqueues.py" not in result.stdout.str()


@pytest.mark.parametrize(
    ("target", "remedy"),
    [
        ("", 'stem_app = "shop.tasks:stem"'),
        ("kit_shop", "kit_shop names no attribute"),
        ("kit_shpo:stem", "there is no module kit_shpo"),
    ],
)
def test_a_wrong_configuration_says_what_to_write(target, remedy):
    """The error appears once, without a traceback."""
    with pytest.raises(pytest.fail.Exception, match=remedy) as caught:
        plugin._named_app(target)
    assert not caught.value.pytrace


def test_the_plugin_imports_nothing_heavy(pytester):
    """The plugin is loaded in every test run, whether a test uses it or not."""
    pytester.makepyfile(
        """
        import sys

        def test_light():
            ours = [name for name in sys.modules if name.startswith("stem_amqp")]
            assert sorted(ours) == ["stem_amqp", "stem_amqp.testing", "stem_amqp.testing.plugin"]
            assert "aio_pika" not in sys.modules
        """
    )
    pytester.runpytest_subprocess("-p", "no:asyncio").assert_outcomes(passed=1)


FORGETFUL = """
from shop import pay

def test_forgets_to_wait(stem_memory):
    pay.enqueue_blocking(1)
    stem_memory.run_due()

def test_forgets_nothing(stem_memory):
    pay.enqueue_blocking(1)
    stem_memory.run_due_blocking()
"""


def test_a_test_that_forgets_to_await_does_not_pass(pytester):
    """The fixture's error at the end of the test says what to write."""
    pytester.makepyfile(shop=SHOP, test_shop=FORGETFUL)
    pytester.makefile(".ini", pytest=INI)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*write `await stem_memory.run_due()`*run_due_blocking()`*"])
