"""Measure how time and memory grow with the size of an input: at n, 2n and 4n.

Time is the process's CPU time, which a busy machine changes little; memory is the peak of Python's
allocations. Proportional growth takes 4 times as much at 4n, quadratic growth 16 times.
"""

import gc
import time
import tracemalloc

LARGEST_RATIO = 9.0
"""Growth from n to 4n that still counts as proportional."""
SHORTEST = 0.02
"""CPU seconds at 4n below which the growth is not judged: too short to measure or to matter."""
LONG = 0.3
"""CPU seconds from which a run needs no second measurement."""
ROUNDS = 10
"""The most further measurements of all sizes, if the growth looks too large: other processes use the processor's caches
too, which slows large inputs more than small ones, and for longer than three runs take."""
LEAST_MEMORY = 1 << 20
"""Bytes at 4n below which the growth is not judged."""
SIZES = (1, 2, 4)


def cpu_seconds(run, prepared):
    """Return the CPU time of a run, the minimum of up to three runs."""
    times = []
    for _ in range(3):
        gc.collect()
        begin = time.process_time()
        run(prepared)
        times.append(time.process_time() - begin)
        if times[-1] > LONG:
            break
    return min(times)


def peak_bytes(run, prepared):
    """Return the peak of a run's allocations, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        run(prepared)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def assert_proportional(make, run, n):
    """Assert that a run takes time and memory in proportion to the size of its input.

    Args:
        make: makes an input of a size.
        run: processes the input, and catches the errors that it expects.
        n: the smallest size: large enough that quadratic growth takes long, and linear growth does
            not.
    """
    inputs = [make(n * size) for size in SIZES]
    times = [cpu_seconds(run, one) for one in inputs]
    for _ in range(ROUNDS):
        if _is_proportional(times) or times[-1] > LONG:
            break
        times = [
            min(cpu_seconds(run, one), known) for one, known in zip(inputs, times, strict=True)
        ]
    peaks = [peak_bytes(run, one) for one in inputs]
    told = f"CPU seconds {[round(t, 4) for t in times]}, bytes {peaks} at n, 2n, 4n of n={n}"
    assert _is_proportional(times), told
    assert peaks[-1] < LEAST_MEMORY or peaks[-1] < LARGEST_RATIO * peaks[0], told


def _is_proportional(times):
    return times[-1] < SHORTEST or times[-1] < LARGEST_RATIO * times[0]
