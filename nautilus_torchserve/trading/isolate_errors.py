"""Isolation of handlers' exceptions in a live node: they are logged and counted, not raised into the node."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from nautilus_trader.common.component import Clock, Logger, TestClock


class HasErrorCount(Protocol):
    """A component that counts and logs its handlers' exceptions."""

    handler_errors: int
    """Number of exceptions."""

    @property
    def log(self) -> Logger:
        """Logs them, with their traceback."""


class Handling(HasErrorCount, Protocol):
    """An actor or a strategy that has ``handler_errors``."""

    @property
    def clock(self) -> Clock:
        """A `TestClock` in a backtest."""


Owner = TypeVar("Owner", bound=Handling)
Arguments = ParamSpec("Arguments")


@contextmanager
def log_errors(owner: HasErrorCount, where: str) -> Iterator[None]:
    """Log and count an exception inside, and continue after it.

    An exception in a data handler ends a TradingNode's process, its positions left as they are; so this is the one
    place where any exception is caught.
    """
    try:
        yield
    except Exception as error:
        owner.handler_errors += 1
        owner.log.exception(f"{where} failed", error)


def isolate_errors(
    handler: Callable[Concatenate[Owner, Arguments], None],
) -> Callable[Concatenate[Owner, Arguments], None]:
    """Decorate a handler of an actor or a strategy: in a live run its exceptions are logged, in a backtest raised.

    The clock decides which it is.
    """

    @wraps(handler)
    def handle(self: Owner, *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        if isinstance(self.clock, TestClock):
            handler(self, *args, **kwargs)
            return
        with log_errors(self, f"{type(self).__name__}.{handler.__name__}"):
            handler(self, *args, **kwargs)

    return handle
