"""The application class of every command: the one place where errors become messages and exit statuses.

==========================  ===========================================================  ===========
raised in a command         shown                                                        exit status
==========================  ===========================================================  ===========
`UserError`                 ``error: <its sentence>`` on stderr                          its own
`OSError` of the system     ``error: <path>: <reason>`` on stderr                        1
typer's ``BadParameter``    usage and reason on stderr                                   2
Ctrl-C                      nothing                                                      130
a closed pipe               nothing                                                      1
anything else: a bug        the traceback, and a line that calls it a bug                1
==========================  ===========================================================  ===========
"""

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

from nautilus_torchserve.user_error import InvalidArgument, UserError, describe

console = Console(stderr=True)
"""Where all messages go; stdout is for what ``--json`` prints."""
A_BUG = "This is a bug in nautilus-torchserve, not in what you gave it: please report it with the lines above."


class App(typer.Typer):
    """A `typer.Typer` whose commands end as the table above says.

    Parameters
    ----------
    default_command : str, optional
        The command that is meant where the first argument names none.
    """

    def __init__(self, default_command: str | None = None, **settings: Any) -> None:
        kind = type("_Group", (_Group,), {"default_command": default_command})
        super().__init__(cls=kind, add_completion=False, pretty_exceptions_enable=False, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Callable], Callable]:  # type: ignore[override]
        return super().command(name, cls=_Command, **settings)


class _Group(TyperGroup):
    default_command: str | None = None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if self.default_command is not None and args and args[0] not in {*self.commands, "--help"}:
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **extra: Any) -> Any:
        with errors_shown():
            return super().main(*args, **extra)


class _Command(TyperCommand):
    def main(self, *args: Any, **extra: Any) -> Any:
        with errors_shown():
            return super().main(*args, **extra)


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show what a user can act on as one line and exit; mark everything else as a bug and let it rise."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # a reader that has gone is noticed here, not while the interpreter shuts down
    except UserError as error:
        _exit(f"{error}", error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            _exit(describe(error), 1)
        if isinstance(error, RuntimeError) and f"{error}".startswith("Symlink loop from "):
            _exit(f"{error}", 1)  # an OSError as Path.resolve raises it before Python 3.13
        error.add_note(A_BUG)
        raise


def _exit(message: str, status: int) -> NoReturn:
    with suppress(OSError):  # a full disk or a closed pipe does not change the status
        typer.echo(f"error: {' '.join(message.splitlines())}", err=True)
    sys.exit(status)


def raise_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, so that a command cleans up; those after it are ignored.

    For the main thread. A job that the shell started in the background has SIGINT ignored, and is to end all the same;
    a command under ``nohup`` goes on at SIGHUP.
    """
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)

    def interrupt(number: int, frame: Any) -> NoReturn:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in signals:
        signal.signal(each, interrupt)


def say(text: str) -> None:
    """Print a line of text on stderr as it is, whatever brackets a path or a name has.

    Where stderr takes nothing any more, a full disk or a closed pipe, the work goes on without its messages.
    """
    with suppress(OSError):
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print one line of JSON on stdout, which takes it before this returns.

    Raises
    ------
    OSError
        It did not, for a full disk or a closed pipe; what is printed from now on is dropped.
    """
    try:
        print(json.dumps(value), flush=True)
    except OSError:
        with suppress(io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return ``parse`` as a typer option's parser: a text that it refuses is a wrong call."""

    def parser(text: str) -> Any:
        try:
            return parse(text)
        except InvalidArgument as error:
            raise typer.BadParameter(f"{error}") from None

    return parser
