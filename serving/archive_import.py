"""An archive's handler in this process, with the archive's own code and no other.

Archives carry the rooms they were built with (``handlers``, ``wire``, ...). Two versions
must not see each other's, nor those of the checkout. So an archive's modules are imported
under a prefix of their own, and their ``import`` statements look there first: a module's
globals may carry its own ``__builtins__``, and with them its own ``__import__``.
"""

import builtins
import importlib
import inspect
import itertools
import json
import logging
import os
import sys
import types
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from wire.digest import MANIFEST, archive_digest
from wire.user_error import UserError

_numbers = itertools.count()
# As in a worker, see `handlers`: before this process's first matrix product, or its bits may differ from a worker's.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


class UnreadableArchive(UserError, ValueError):
    """A file that is no model archive, or one that does not load; names it and what is wrong."""


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a ``.mar``, after a check of every member's checksum.

    Raises
    ------
    UnreadableArchive
    """
    if not path.is_file():
        raise UnreadableArchive(f"{path}: a model archive expected, was no file")
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise UnreadableArchive(f"{path}: {damaged} is damaged")
            return json.loads(archive.read(MANIFEST))
    except (BadZipFile, KeyError, EOFError, NotImplementedError, zlib.error, json.JSONDecodeError) as error:
        raise UnreadableArchive(f"{path}: a model archive expected: {error}") from error


@dataclass(frozen=True)
class LoadedArchive:
    """An archive whose code lives in this process."""

    handler: Any
    """The archive's own handler, initialised."""
    request_error: type[Exception]
    """The archive's own `wire.errors.RequestError`, which is not this checkout's."""
    prefix: str
    """What its modules are called by in `sys.modules`."""

    def unload(self) -> None:
        """Forget the archive's modules."""
        sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "prefix", None) != self.prefix]
        for name in [name for name in sys.modules if name == self.prefix or name.startswith(f"{self.prefix}.")]:
            del sys.modules[name]


def load_archive(path: Path, folder: Path, model_name: str) -> LoadedArchive:
    """Unpack an archive, import its handler and initialise it as a worker would.

    Parameters
    ----------
    path : Path
        The ``.mar``.
    folder : Path
        An empty folder to unpack to; must exist as long as the handler is used.
    model_name : str
        The name it is asked under.

    Raises
    ------
    UnreadableArchive
        The file is no archive, or its handler refuses its content.
    """
    manifest = read_manifest(path)
    with ZipFile(path) as archive:
        archive.extractall(folder)
    logging.getLogger("ts.torch_handler").setLevel(logging.ERROR)  # warns at import of optional backends
    prefix = f"mar_{archive_digest(path)[:12]}_{next(_numbers)}"
    module = _import_isolated(folder, prefix, manifest)
    (handler_class,) = (
        member for _, member in inspect.getmembers(module, inspect.isclass) if member.__module__ == module.__name__
    )
    handler: Any = handler_class()
    level = logging.getLogger().level
    try:
        handler.initialize(_context(model_name, folder, manifest))
    except RuntimeError as error:  # the archive's own BadArchive, or torch's about weights
        raise UnreadableArchive(f"{path}: {error}") from error
    logging.getLogger().setLevel(level)  # handlers silence their worker; this process is the user's
    return LoadedArchive(handler, sys.modules[f"{prefix}.wire.errors"].RequestError, prefix)


def _context(model_name: str, folder: Path, manifest: Mapping[str, Any]) -> Any:
    import torch
    import ts
    from ts.context import Context

    gpu = 0 if torch.cuda.is_available() else None
    return Context(model_name, str(folder), manifest, 1, gpu, ts.__version__)


def _import_isolated(folder: Path, prefix: str, manifest: Mapping[str, Any]) -> types.ModuleType:
    package = types.ModuleType(prefix)
    package.__path__ = [str(folder)]
    sys.modules[prefix] = package
    sys.meta_path.insert(0, _ArchiveFinder(folder, prefix))
    name = manifest["model"]["handler"].removesuffix(".py").rpartition("/")[2]
    return importlib.import_module(f"{prefix}.{name}")


class _ArchiveFinder:
    """Finds ``<prefix>.*`` in the unpacked archive."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.prefix = prefix
        scoped = _scoped_import(folder, prefix)

        class Loader(SourceFileLoader):
            def exec_module(self, module: types.ModuleType) -> None:
                module.__dict__["__builtins__"] = {**vars(builtins), "__import__": scoped}
                super().exec_module(module)

        self._loader = Loader

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{self.prefix}.") or not path:
            return None
        return FileFinder(next(iter(path)), (self._loader, [".py"])).find_spec(fullname)


def _scoped_import(folder: Path, prefix: str) -> Any:
    def scoped(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> types.ModuleType:
        top = name.partition(".")[0]
        if level or not ((folder / top).is_dir() or (folder / f"{top}.py").is_file()):
            return builtins.__import__(name, globals, locals, fromlist, level)
        importlib.import_module(f"{prefix}.{name}")
        if fromlist:
            return builtins.__import__(f"{prefix}.{name}", globals, locals, fromlist, 0)
        return sys.modules[f"{prefix}.{top}"]

    return scoped
