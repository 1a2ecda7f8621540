"""Write docs/cli.md: every command with its arguments and options, from the commands themselves."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from typer.main import get_command

from nautilus_torchserve.bundle import BUNDLE

PAGE = Path("docs", "cli.md")
HEAD = """# Command line

<!-- Written by scripts/cli_reference.py from the commands themselves: edit their help texts instead. -->

Each command exits with 0 done, 1 failed, 2 invalid arguments; [rollouts](releases.md#exit-statuses) and
[live runs](live-trading.md#exit-statuses) have more statuses. With `--json`, stdout holds one JSON object; messages go
to stderr.

In a checkout there are also `scripts/demo.py ticks|bars|news`, which runs all steps of a demo (`make demo`,
`make demo-bars`, `make demo-news`), `scripts/attack.py` ([fault injection](attack.md)) and `scripts/bench_*.py`
([performance](performance.md)).
"""
COMMANDS = {
    "Models": ("train", "pack", "keys", "sign", "verify", "registry"),
    "Serving": ("serve", "rollout", "watch", "experiment"),
    "Trading": ("backtest", "sweep", "live", "parity", "audit", "explain"),
}
"""Heading -> modules of `nautilus_torchserve.cli`."""


def reference() -> str:
    """Return the page."""
    lines = [HEAD]
    for heading, names in COMMANDS.items():
        lines.append(f"## {heading}\n")
        for name in names:
            program = f"python scripts/{'archive' if name == 'pack' else name}.py"
            lines += _sections(program, name, get_command(import_module(f"nautilus_torchserve.cli.{name}").app))
    return "\n".join(lines).replace(f"{BUNDLE}/", "").rstrip() + "\n"


def _sections(program: str, title: str, command: Any, level: int = 3) -> Iterator[str]:
    """Return the section of a command, and those of its subcommands."""
    context = command.make_context(program, [], resilient_parsing=True)
    yield f"{'#' * level} {title}\n"
    if help_text := _paragraphs(command.help or ""):
        yield f"{help_text}\n"
    if subcommands := getattr(command, "commands", None):
        for name, subcommand in subcommands.items():
            yield from _sections(f"{program} {name}", f"{title} {name}", subcommand, level + 1)
        return
    yield f"```text\n{program} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    records = filter(None, (parameter.get_help_record(context) for parameter in command.params))
    if options := [f"- `{name}`: {_sentence(text)}" for name, text in records]:
        yield "\n".join(options) + "\n"


def _paragraphs(text: str) -> str:
    """Return a help text with the lines of each paragraph joined."""
    return "\n\n".join(_escape(paragraph) for paragraph in re.split(r"\n\s*\n", text.strip()))


def _sentence(text: str) -> str:
    """Return an option's help with its default in parentheses: ``Trades to simulate (default: 60000; x>=1).``"""
    text = _escape(text)
    match = re.fullmatch(r"(.*?)\.? ?\[([^\[\]]+)\]", text)
    return f"{match[1]} ({match[2]})." if match else text


def _escape(text: str) -> str:
    return re.sub(r"([<>*_])", r"\\\1", " ".join(text.split()))


if __name__ == "__main__":
    (BUNDLE / PAGE).write_text(reference())
