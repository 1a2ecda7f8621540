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

import functools
import inspect
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from nautilus_torchserve.user_error import InvalidArgument, UserError, describe

console = Console(stderr=True, emoji=False)
"""Where all messages go; stdout is for what ``--json`` prints."""
A_BUG = "This is a bug in nautilus-torchserve, not in its input: please report it with the lines above."


class App(typer.Typer):
    """A `typer.Typer` whose commands end as the table above says.

    Parameters
    ----------
    default_command : str, optional
        Command that runs where the first argument names none.
    package : str, optional
        The package whose modules are the commands: what is registered here is a summary for the help page, and a
        module is imported when its command is called.
    """

    def __init__(self, default_command: str | None = None, package: str | None = None, **settings: Any) -> None:
        kind = type("_Group", (_Group,), {"default_command": default_command, "package": package})
        super().__init__(cls=kind, add_completion=False, pretty_exceptions_enable=False, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Callable], Callable]:  # type: ignore[override]
        """Register a function as a command; a parameter that is a dataclass stands for an option of each field."""
        register = super().command(name, cls=_Command, **settings)
        return lambda function: register(with_option_groups(function))

    def lazy_command(self, name: str, summary: str, panel: str | None = None) -> None:
        """Register a module of ``package`` as a command."""
        self.command(name, help=summary, rich_help_panel=panel)(lambda: None)


def with_option_groups(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function for typer that has the fields of a dataclass in the place of a parameter of that type.

    Fields have types and defaults as parameters have, ``version: Version = None``; they may be dataclasses, too.
    """
    parameters = inspect.signature(function).parameters.values()

    @functools.wraps(function)
    def command(**values: Any) -> None:
        function(**{parameter.name: _value(parameter.name, parameter.annotation, values) for parameter in parameters})

    options = [option for own in parameters for option in _options(own.name, own.annotation, own.default)]
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    command.__annotations__ = {option.name: option.annotation for option in options}
    return command


def _options(name: str, annotation: Any, default: Any) -> Iterator[inspect.Parameter]:
    if not is_dataclass(annotation):
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        return
    for field in fields(annotation):
        yield from _options(
            field.name, field.type, inspect.Parameter.empty if field.default is MISSING else field.default
        )


def _value(name: str, annotation: Any, values: dict[str, Any]) -> Any:
    if not (isinstance(annotation, type) and is_dataclass(annotation)):
        return values[name]
    return annotation(**{field.name: _value(field.name, field.type, values) for field in fields(annotation)})


def load_command(package: str, name: str) -> Any:
    """Return the command that a module has in its ``app``.

    Raises
    ------
    UserError
        There is no such package: a part of the checkout that is not installed.
    """
    try:
        return get_command(import_module(f"{package}.{name}").app)
    except ModuleNotFoundError as error:
        if error.name not in (package, package.partition(".")[0]):
            raise
    raise UserError(f"{name}: expected the folder {package.replace('.', '/')} of a checkout, got none here")


class _Group(TyperGroup):
    default_command: str | None = None
    package: str | None = None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if self.package is not None and args[0] in self.commands:
            self.commands[args[0]] = load_command(self.package, args[0])
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if self.default_command is not None and args and args[0] not in {*self.commands, "--help"}:
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **extra: Any) -> Any:
        with show_errors():
            return super().main(*args, **extra)


class _Command(TyperCommand):
    def main(self, *args: Any, **extra: Any) -> Any:
        with show_errors():
            return super().main(*args, **extra)


@contextmanager
def show_errors() -> Iterator[None]:
    """Print errors that a user can act on as one line and exit; mark all others as bugs and let them rise."""
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

    For the main thread. A job that a shell starts in the background has SIGINT ignored, but must end, too; a command
    under ``nohup`` continues at SIGHUP.
    """
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)

    def interrupt(received: int, frame: Any) -> NoReturn:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in signals:
        signal.signal(number, interrupt)


def catch_interrupts() -> None:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt each time, also in a background job, which has SIGINT ignored.

    For what is undone when it is interrupted.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def echo(text: str) -> None:
    """Print a line of text on stderr, without markup: a path or a name may have brackets.

    Where stderr cannot be written any more, for a full disk or a closed pipe, the work continues without messages.
    """
    with suppress(OSError):
        console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(noun: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr, and yield what moves it: a function of the number done and their total."""
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console, transient=True) as bar:
        task = bar.add_task(noun, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_json(value: object) -> None:
    """Print one line of JSON on stdout, and flush it; paths are strings there.

    Raises
    ------
    OSError
        Stdout cannot be written, for a full disk or a closed pipe; later output is dropped.
    """
    try:
        print(json.dumps(value, default=os.fspath), flush=True)
    except OSError:
        with suppress(io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return ``parse`` as the parser of a typer option: `InvalidArgument` becomes a usage error."""

    @functools.wraps(parse)
    def parser(text: str) -> Any:
        try:
            return parse(text)
        except InvalidArgument as error:
            raise typer.BadParameter(f"{error}") from None

    return parser
