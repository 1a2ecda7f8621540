"""Which of the project's own modules a handler needs: they travel inside its archive."""

import ast
from pathlib import Path

from wire.user_error import UserError

ROOMS = ("features", "handlers", "model_defs", "wire")
"""Rooms that may travel. The others know the outside of the server, or the trading side."""


class ForbiddenImport(UserError, ImportError):
    """Code that would travel in an archive imports a room that must not."""


def code_closure(root: Path, *entries: Path) -> list[Path]:
    """The modules that ``entries`` import from the project, and what they import in turn.

    Reads the source, runs nothing; sees imports inside functions too.

    Parameters
    ----------
    root : Path
        Folder that holds the rooms.
    entries : Path
        The handler's file, and others that are found by name only when it runs.

    Returns
    -------
    list of Path
        Relative to ``root``, sorted, each room's ``__init__.py`` included, without ``entries``.

    Raises
    ------
    ForbiddenImport
    """
    found: set[Path] = set()
    waiting = list(entries)
    while waiting:
        path = waiting.pop()
        for module in _imports(path):
            for file in _files(root, module, path):
                if file not in found:
                    found.add(file)
                    waiting.append(root / file)
    return sorted(found - {entry.relative_to(root) for entry in entries})


def _imports(path: Path) -> list[str]:
    """Every module that may be meant: ``from a import b`` may mean the module ``a.b``."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _files(root: Path, module: str, importer: Path) -> list[Path]:
    room, *inner = module.split(".")
    if room not in ROOMS:
        if (root / room / "__init__.py").is_file():
            raise ForbiddenImport(f"{importer.relative_to(root)}: imports of {', '.join(ROOMS)} expected, was {module}")
        return []
    files = [Path(room) / "__init__.py"]
    if inner and (root / room / f"{inner[0]}.py").is_file():
        files.append(Path(room) / f"{inner[0]}.py")
    return files
