"""Handlers of the signals that stop a worker, a supervisor and `stem-amqp dev`."""

import asyncio
import os
import signal
import threading

import pytest

from stem_amqp.cli.supervision.signal_handlers import STOPPING, on_signals

pytestmark = pytest.mark.usefixtures("restored_signals")


async def called_by(send):
    """Return once a signal that is sent by a function has called its handler."""
    called = asyncio.Event()
    with on_signals({signal.SIGTERM: called.set}):
        send()
        async with asyncio.timeout(60):
            await called.wait()


def loop_factory(kind):
    """Return the factory of an event loop that a worker may use."""
    if kind == "asyncio":
        return asyncio.new_event_loop
    return pytest.importorskip("uvloop", reason="uvloop is not installed").new_event_loop


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_signal_calls_its_function_and_later_ones_are_ignored(kind):
    """They are also ignored after the end of the event loop."""
    with asyncio.Runner(loop_factory=loop_factory(kind)) as runner:
        runner.run(called_by(lambda: os.kill(os.getpid(), signal.SIGTERM)))
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_signal_that_another_thread_receives_wakes_up_the_event_loop(kind):
    """The kernel may deliver it to any thread."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    loop_is_idle = 0.1
    try:
        with asyncio.Runner(loop_factory=loop_factory(kind)) as runner:
            send = threading.Timer(
                loop_is_idle, signal.pthread_kill, (thread.ident, signal.SIGTERM)
            )
            runner.run(called_by(send.start))
    finally:
        ended.set()
        thread.join()


def test_the_default_action_never_applies_again(monkeypatch):
    """Not even for a moment: one more SIGTERM would kill the process during its exit."""
    handlers = []
    change = signal.signal
    monkeypatch.setattr(
        signal, "signal", lambda number, to: (handlers.append((number, to)), change(number, to))[1]
    )

    async def nothing():
        with on_signals(dict.fromkeys(STOPPING, lambda: None)):
            pass

    asyncio.run(nothing())
    assert {signal.getsignal(number) for number in STOPPING} == {signal.SIG_IGN}
    own = handlers[handlers.index((signal.SIGTERM, signal.getsignal(signal.SIGTERM))) :]
    assert [to for _, to in own] == [signal.SIG_IGN] * len(STOPPING)
