"""Runs a sweep in local processes, which load the data once each and share one server."""

import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from nautilus_torchserve.trading.backtest.sweeps.grid import Combination
from nautilus_torchserve.trading.backtest.sweeps.point import Plan, SweepPoint, run_point

_ENDS_WITHIN_S = 5.0
_plan: Plan | None = None  # of the process that works on it


def run_in_processes(
    plan: Plan, tried: Sequence[Combination], jobs: int, on_done: Callable[[int, int], None] | None = None
) -> list[SweepPoint]:
    """Try combinations, ``jobs`` at a time.

    New processes are started for it and ended when it is done, whatever ends it, Ctrl-C and SIGTERM (where it raises)
    included. One that fails does not stop the others; a process that dies fails those that had not ended.

    Parameters
    ----------
    jobs : int
        At least 1.
    on_done : callable, optional
        Called with the number of combinations done and of all.

    Returns
    -------
    list of SweepPoint
        In the order of ``tried``; the same however many ``jobs``.
    """
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        path = Path(folder) / "plan"
        path.write_bytes(pickle.dumps(plan, protocol=pickle.HIGHEST_PROTOCOL))
        with _pool(min(jobs, len(tried)), path) as pool:
            futures = [pool.submit(_try, combination) for combination in tried]
            for done, _ in enumerate(as_completed(futures), start=1):
                if on_done is not None:
                    on_done(done, len(futures))
            return [_point(future, combination) for future, combination in zip(futures, tried, strict=True)]


def _point(future: Future[SweepPoint], combination: Combination) -> SweepPoint:
    error = future.exception()
    return future.result() if error is None else SweepPoint(combination, error=f"{type(error).__name__}: {error}")


@contextmanager
def _pool(jobs: int, plan: Path) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool whose processes end with the block; at once if it raises."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(plan,))
    try:
        yield pool
    except BaseException:  # Ctrl-C too: no need to wait for the backtests
        pool.shutdown(wait=False, cancel_futures=True)
        children = set(multiprocessing.active_children()) - before
        for child in children:
            child.terminate()
        for child in children:
            child.join(_ENDS_WITHIN_S)
            child.kill()
        raise
    pool.shutdown()


def _begin(plan: Path) -> None:
    """Initialise a process: load the plan, leave Ctrl-C to the parent, and end when it ends."""
    global _plan
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _plan = pickle.loads(plan.read_bytes())


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _try(combination: Combination) -> SweepPoint:
    assert _plan is not None
    return run_point(_plan, combination)
