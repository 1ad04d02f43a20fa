"""The reading threads keep order, bound their lead, and stop."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dinov2_sklearn.images._reading import map_ahead
from dinov2_sklearn.images._shared import SharedFiles


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_order_is_kept(num_workers):
    def slow_for_even(i):
        time.sleep(0.002 * (i % 2 == 0))
        return i * i

    result = list(map_ahead(slow_for_even, range(50), num_workers=num_workers, ahead=7))
    assert result == [i * i for i in range(50)]


def test_no_more_than_ahead_items_wait():
    started = []
    results = map_ahead(started.append, range(100), num_workers=4, ahead=8)
    for taken in range(1, 20):
        next(results)
        time.sleep(0.001)
        assert len(started) <= taken + 8


def test_exception_is_raised_in_its_place():
    def fail_at_three(i):
        return 1 / (i - 3)

    results = map_ahead(fail_at_three, range(10), num_workers=2, ahead=4)
    assert [next(results) for _ in range(3)] == [1 / -3, 1 / -2, 1 / -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_threads_end_when_the_consumer_stops():
    results = map_ahead(lambda i: i, range(1000), num_workers=3, ahead=50)
    next(results)
    threads = [t for t in threading.enumerate() if "dinov2-sklearn-read" in t.name]
    assert threads
    results.close()
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_consumer_that_stops_does_not_wait_for_a_read_that_hangs():
    hangs = threading.Event()
    results = map_ahead(lambda i: i == 0 or hangs.wait(60), range(10), num_workers=2, ahead=4)
    next(results)
    results.close()
    hangs.set()


def test_a_file_in_use_stays_open_however_many_others_are_opened():
    files, opened = SharedFiles(2), []

    def read(names):
        for name in names:
            assert files.get(name, lambda name=name: opened.append(name) or name) == name

    def read_others():
        with files.used():
            read("bcd")

    with files.used(), ThreadPoolExecutor(1) as threads:
        read("a")
        threads.submit(read_others).result()
        read("aa")
    assert opened == [*"abcd"]
