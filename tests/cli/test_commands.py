"""The console command: what it imports, what it lists, and that one option means the same in all commands."""

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from nautilus_torchserve.cli import bench
from nautilus_torchserve.cli.app import load_command
from nautilus_torchserve.cli.main import PANELS, app
from support import PROJECT

COMMANDS = {name: summary for commands in PANELS.values() for name, summary in commands.items()}


def leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield the commands below a command, with their full names; itself where it has none."""
    if not hasattr(command, "commands"):
        yield name, command
    for each, below in getattr(command, "commands", {}).items():
        yield from leaves(f"{name} {each}", below)


LOADED = {name: load_command("nautilus_torchserve.cli", name) for name in COMMANDS if name != "bench"}
ALL = [leaf for name, command in LOADED.items() for leaf in leaves(name, command)]
ALL += [(f"bench {name}", load_command(bench.PACKAGE, name)) for name in bench.BENCHMARKS]


def value_type(option: Any) -> str:
    """Return the type of an option's value, of one of them where it is repeatable."""
    described = option.type_descriptor
    parser = described.parameter_info.parser
    name = parser.__name__ if parser is not None else str(getattr(described.annotation, "__name__", ""))
    if name == "list":
        (item,) = described.annotation.__args__
        name = item.__name__
    return name


def stem(help_text: str) -> str:
    """Return what an option is, without the detail that a command adds."""
    return re.split(r"[:;,(]|\.(?: |$)", help_text)[0].strip()


def options() -> dict[str, dict[str, Any]]:
    """Return every option's name -> command -> option."""
    by_name: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, command in ALL:
        for parameter in command.params:
            if parameter.opts[0].startswith("--"):
                by_name[parameter.opts[0]][name] = parameter
    return by_name


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys; from nautilus_torchserve.cli.main import app\ntry: app(['--help'])\nfinally: print(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)

    *shown, modules = result.stdout.splitlines()
    assert {"torch", "nautilus_trader", "pandas", "numpy", "ts"} & set(modules.split()) == set()
    for name in COMMANDS:
        assert any(re.search(rf"│ {name} ", line) for line in shown), name


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_the_module_of_its_name(name: str) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [name, "--help"])

    assert result.exit_code == 0
    assert f" {name} " in result.stdout
    assert re.fullmatch(r"[A-Z][^.]{10,74}\.", COMMANDS[name])


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "nautilus_torchserve"]
    version = subprocess.run([*command, "--version"], cwd=PROJECT, capture_output=True, text=True, check=True)
    unknown = subprocess.run([*command, "serv"], cwd=PROJECT, capture_output=True, text=True, check=False)

    assert version.stdout.startswith("nautilus-torchserve 0.")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "Did you mean 'serve'" in unknown.stderr


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_a_command_has_a_summary_of_a_line_and_json(name: str, command: Any) -> None:
    summary = (command.help or "").split("\n\n")[0].replace("\n", " ")

    assert re.fullmatch(r"[A-Z].{10,140}[.:]", summary), summary
    assert any("--json" in parameter.opts for parameter in command.params)


@pytest.mark.parametrize("name", options())
def test_an_option_has_one_type_and_means_one_thing(name: str) -> None:
    uses = options()[name].values()

    assert len({value_type(option) for option in uses}) == 1
    assert len({stem(option.help) for option in uses}) == 1, {option.help for option in uses}


@pytest.mark.parametrize("name", options())
def test_a_default_is_in_the_help(name: str) -> None:
    for command, option in options()[name].items():
        assert option.help
        assert not re.search(r"left out|\[.*\]$", option.help, re.IGNORECASE)
        if option.default is None and not option.required and not option.multiple:
            assert "default: " in option.help, (command, option.help)


def test_every_command_that_loads_archives_by_url_can_require_their_signature() -> None:
    known = options()

    in_process = {name for name, option in known["--url"].items() if "mar:" in option.help}
    assert in_process
    assert in_process | {"live"} == known["--require-signature"].keys()
