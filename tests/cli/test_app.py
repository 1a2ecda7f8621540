"""What a command shows, and how it ends, for everything that can be raised in it."""

import ast
import errno
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from nautilus_torchserve import user_error
from nautilus_torchserve.cli.app import A_BUG, App, describe, parsed
from nautilus_torchserve.user_error import InvalidArgument, UserError
from support import PROJECT


class Halted(UserError):
    """A user's error with a status of its own."""

    exit_code = 3


ENDINGS = {
    "user error": (UserError("a.csv:3: expected a number, got 'x'"), 1, "error: a.csv:3: expected a number, got 'x'\n"),
    "two lines": (UserError("the library says:\nno"), 1, "error: the library says: no\n"),
    "brackets": (UserError("[/red] 'x[0]'"), 1, "error: [/red] 'x[0]'\n"),
    "argument": (InvalidArgument("expected 1 to 3, got 4"), 2, "error: expected 1 to 3, got 4\n"),
    "own status": (Halted("halted today"), 3, "error: halted today\n"),
    "path": (PermissionError(errno.EACCES, "Permission denied", "/a b"), 1, "error: /a b: Permission denied\n"),
    "loop": (RuntimeError("Symlink loop from '/a'"), 1, "error: Symlink loop from '/a'\n"),
    "disk": (OSError(errno.ENOSPC, "No space left on device"), 1, "error: No space left on device\n"),
    "Ctrl-C": (KeyboardInterrupt(), 130, ""),
    "status": (typer.Exit(7), 7, ""),
    "pipe": (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
}


@pytest.mark.parametrize(("raised", "status", "shown"), ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("commands", [1, 2])
def test_what_is_raised_is_shown_and_has_a_status(
    raised: BaseException, status: int, shown: str, commands: int
) -> None:
    app = App()

    def one() -> None:
        raise raised

    for number in range(commands):
        app.command(f"c{number}")(one)
    result = CliRunner().invoke(app, ["c0"] if commands > 1 else [])

    assert (result.exit_code, result.stderr, result.stdout) == (status, shown, "")


@pytest.mark.parametrize("bug", [KeyError("x"), ValueError("x"), OSError("no errno: no system call failed")])
def test_a_bug_keeps_its_traceback_and_is_called_one(bug: Exception) -> None:
    app = App()

    @app.command()
    def command() -> None:
        raise bug

    result = CliRunner().invoke(app)

    assert (result.exit_code, result.exception, bug.__notes__) == (1, bug, [A_BUG])


def test_a_bug_in_a_process_of_its_own() -> None:
    code = "from nautilus_torchserve.cli.app import App\napp = App()\n@app.command()\ndef main():\n    {}['x']\napp()"

    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert result.stderr.startswith("Traceback")
    assert result.stderr.endswith(f"KeyError: 'x'\n{A_BUG}\n")


def test_a_reader_that_has_gone_is_no_error() -> None:
    code = (
        "from nautilus_torchserve.cli.app import App\napp = App()\n@app.command()\ndef main():\n    print('{}')\napp()"
    )
    reading, writing = os.pipe()
    os.close(reading)

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)

    assert (result.returncode, result.stderr) == (1, "")


def test_two_paths_are_both_named() -> None:
    assert describe(OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b")) == (
        "a to b: Invalid cross-device link"
    )


def test_a_parser_raises_the_reason_for_a_refusal() -> None:
    def parse(text: str) -> int:
        raise InvalidArgument(f"expected 1-MINUTE, got {text!r}")

    app = App()

    @app.command()
    def command(bar: int = typer.Option(parser=parsed(parse))) -> None:
        raise AssertionError

    result = CliRunner().invoke(app, ["--bar", "soon"])

    assert result.exit_code == 2
    assert "expected 1-MINUTE, got 'soon'" in result.stderr


@dataclass(frozen=True)
class Market:
    venue: Annotated[str, typer.Option(help="Venue.")]
    size: Annotated[int, typer.Option(parser=parsed(int))] = "3"  # type: ignore[assignment]


@dataclass(frozen=True)
class Order:
    market: Market
    side: Annotated[str, typer.Option()] = "BUY"


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        (["ES", "--venue", "CME"], ("ES", Order(Market("CME", 3), "BUY"), False)),
        (
            ["ES", "--dry", "--side", "SELL", "--size", "5", "--venue", "CME"],
            ("ES", Order(Market("CME", 5), "SELL"), True),
        ),
    ],
)
def test_a_dataclass_is_an_option_of_each_field(arguments: list[str], received: tuple[Any, ...]) -> None:
    calls = []
    app = App()

    @app.command()
    def command(
        instrument: Annotated[str, typer.Argument()], order: Order, dry: Annotated[bool, typer.Option("--dry")] = False
    ) -> None:
        calls.append((instrument, order, dry))

    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert calls == [received]
    assert CliRunner().invoke(app, ["ES"]).exit_code == 2  # --venue has no default


INTERNAL = {"BadRow", "NoAnswer", "_NoRequestError"}
"""Exceptions that their callers turn into a `UserError`, or that never leave the module that raises them."""
BASES = {"UserError", "InvalidArgument"}


PARTS = ("nautilus_torchserve", "handlers", "model_defs", "strategies", "benchmarks", "fault_injection")


def exceptions() -> dict[str, set[str]]:
    """Every exception class of the project -> its bases' names."""
    types = {}
    for path in (path for folder in PARTS for path in (PROJECT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                types[node.name] = bases
    kinds = {*BASES}
    while more := {name for name, bases in types.items() if bases & kinds} - kinds:
        kinds |= more
    return {
        name: bases
        for name, bases in types.items()
        if name in kinds or any(base.endswith(("Error", "Exception", "Warning")) for base in bases)
    }


def test_every_exception_class_is_a_user_error_that_the_hierarchy_lists() -> None:
    printed = Path(user_error.__file__).read_text().split('"""')[1]
    types = exceptions()

    assert len(types) > 40
    assert {name for name, bases in types.items() if not bases & {*BASES, *types}} - {"UserError"} == INTERNAL
    assert {name for name, bases in types.items() if bases & BASES and name not in printed} == set()


def test_every_command_is_one_of_app() -> None:
    for path in [*(PROJECT / "scripts").glob("*.py"), *(PROJECT / "nautilus_torchserve/cli").glob("*.py")]:
        text = path.read_text()
        if path.stem != "app":
            assert "Typer(" not in text, path
            assert "typer.run(" not in text, path
