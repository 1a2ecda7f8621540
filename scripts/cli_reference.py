"""Write docs/cli.md: every command with its arguments and options, from the commands themselves."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nautilus_torchserve.bundle import LIBRARY_ROOT, WORKSPACE
from nautilus_torchserve.cli.app import load_command
from nautilus_torchserve.cli.main import PANELS

PAGE = Path("docs", "cli.md")
HEAD = """# Command line

<!-- Written by scripts/cli_reference.py from the commands themselves: edit their help texts instead. -->

`nautilus-torchserve COMMAND` is installed with the package; in a checkout `python scripts/COMMAND.py` is the same
(`archive.py` for `pack`, `bench_NAME.py` for `bench NAME`). Each command exits with 0 done, 1 failed, 2 invalid
arguments; [rollouts](releases.md#exit-statuses) and [live runs](live-trading.md#exit-statuses) have more statuses. With
`--json`, stdout holds one JSON object; messages go to stderr. Durations are written `500us`, `30s`, `1.5h` or `4-HOUR`.

Two more commands exist in a checkout alone: `scripts/demo.py ticks|bars|news` runs all steps of a demo (`make demo`,
`make demo-bars`, `make demo-news`), `scripts/attack.py` is [fault injection](attack.md).
"""


def reference() -> str:
    """Return the page."""
    lines = [HEAD]
    for panel, commands in PANELS.items():
        lines.append(f"## {panel}\n")
        for name in commands:
            lines += _sections(name, load_command("nautilus_torchserve.cli", name))
    return "\n".join(lines).replace(f"{WORKSPACE}/", "").rstrip() + "\n"


def _sections(path: str, command: Any, level: int = 3) -> Iterator[str]:
    """Return the section of a command, and those of its subcommands."""
    program = f"nautilus-torchserve {path}"
    context = command.make_context(program, [], resilient_parsing=True)
    yield f"{'#' * level} {path}\n"
    if help_text := _paragraphs(command.help or ""):
        yield f"{help_text}\n"
    if subcommands := getattr(command, "commands", None):
        for name, subcommand in subcommands.items():
            loaded = load_command(command.package, name) if command.package else subcommand
            yield from _sections(f"{path} {name}", loaded, level + 1)
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
    """Return a line of text with Markdown's characters escaped, but in code."""
    return re.sub(r"(`[^`]*`)|([<>*_])", lambda match: match[1] or f"\\{match[2]}", " ".join(text.split()))


if __name__ == "__main__":
    (LIBRARY_ROOT / PAGE).write_text(reference())
