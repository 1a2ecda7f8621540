"""An archive's model in this process, with the archive's own code and no other: no server, no TorchServe.

Archives carry the packages they were built with (``nautilus_torchserve``, ``handlers``, a user's own). Two versions
must not see each other's, nor those of the checkout. So an archive's modules are imported under a prefix, and their
``import`` statements look there first: a module's globals may carry its own ``__builtins__``, and with them its own
``__import__``.
"""

import builtins
import importlib
import importlib.resources
import inspect
import itertools
import logging
import os
import sys
import tempfile
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

from nautilus_torchserve.bundle import WORKSPACE
from nautilus_torchserve.serving.client.archive_file import (
    UnreadableArchive,
    archive_digest,
    check_handler,
    handler_module,
    one_line,
    open_archive,
)
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.user_error import UserError

TRUSTED_VARIABLE = "ARCHIVE_TRUSTED_KEYS"
"""Environment variable: folder of the keys whose signatures archives need, where nothing else names one."""
HOW_TO_RUN_IN_PROCESS = (
    "a handler that mar: can run names the model of the inference core behind it as its model_class; serve other "
    "archives and connect over HTTP, see docs/archives.md"
)
TRUSTED = WORKSPACE / "trusted_keys"
"""Folder of the keys that are trusted where no other is named."""
_numbers = itertools.count()
_log = logging.getLogger(__name__)
_warned: set[Path] = set()
"""Archives without a trusted signature that this process has warned of."""
# As in a worker, see `inference`: before this process's first matrix product, or its bits may differ from a worker's.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


@dataclass(frozen=True)
class LoadedArchive:
    """An archive whose code lives in this process."""

    model: Any
    """The archive's own `inference.model.InferenceModel`, loaded."""
    metadata: ModelMetadata
    """Its metadata, checked."""
    request_error: type[Exception]
    """The archive's own `wire.errors.RequestError`, which is not this checkout's."""
    prefix: str
    """Prefix of its modules in `sys.modules`."""

    def unload(self) -> None:
        """Forget the archive's modules."""
        forget(self.prefix)


def load_archive(path: Path, folder: Path, trusted: Path | None = None) -> LoadedArchive:
    """Unpack an archive, import its handler, and load the model that the handler names.

    Parameters
    ----------
    path : Path
        The ``.mar``.
    folder : Path
        An empty folder to unpack to; must exist as long as the model is used.
    trusted : Path, optional
        Folder of the keys whose signature it needs: what is unpacked are the very bytes that were verified. None: an
        archive that no key of `TRUSTED` has signed is loaded with a warning.

    Raises
    ------
    UnreadableArchive
        The file is no archive, its handler names no model, the model refuses its content, or does not describe itself.
    Untrusted
        It is not signed by a trusted key.
    """
    if trusted is not None:
        return _load_verified(path, folder, trusted)
    return _load(path, folder, _warn_of_unsigned)


def _warn_of_unsigned(path: Path) -> None:
    """Warn of an archive that is not signed by a trusted key, the first time that this process loads it."""
    if path not in _warned and (reason := _objection(path)) is not None:
        _warned.add(path)
        _log.warning("%s: its code runs in this process all the same; --require-signature refuses it", reason)


def _objection(path: Path) -> str | None:
    """Return why an archive is not trusted; None: a key of `TRUSTED` has signed it."""
    try:
        from nautilus_torchserve.signing.archive_signature import Untrusted, verify_archive
    except ImportError as error:
        return f"{path}: expected {error.name} to verify signatures with, got none"
    try:
        verify_archive(path, TRUSTED)
    except Untrusted as error:
        return f"{error}"
    return None


def _load(path: Path, folder: Path, before_import: Callable[[Path], None] = lambda path: None) -> LoadedArchive:
    manifest = check_handler(path)
    name = handler_module(path, manifest)
    before_import(path)
    with open_archive(path) as archive:
        archive.extractall(folder)
    prefix = f"mar_{archive_digest(path)[:12]}_{next(_numbers)}"
    try:
        model_class = _model_class(path, import_isolated(folder, prefix, name))
        model = model_class(folder, manifest["model"]["modelVersion"])
        metadata = _check_model(path, model)
        errors = sys.modules.get(f"{prefix}.nautilus_torchserve.wire.errors")
        return LoadedArchive(model, metadata, getattr(errors, "RequestError", _NoRequestError), prefix)
    except UserError:  # ours; the archive's own has another class
        forget(prefix)
        raise
    except (Exception, SystemExit) as error:  # whatever the archive's code, which is not ours, may raise
        forget(prefix)
        raise UnreadableArchive(f"{path}: {one_line(error)}{place(error, folder)}") from error


def _load_verified(path: Path, folder: Path, trusted: Path) -> LoadedArchive:
    # Not at the top: a host that only trades has no library for signatures, and none to load archives either.
    from nautilus_torchserve.signing.archive_signature import verify_archive

    with tempfile.TemporaryDirectory(prefix="verified-") as place:
        copy = Path(place) / path.name
        with copy.open("wb") as file:
            verify_archive(path, trusted, copy=file)
        try:
            return _load(copy, folder)
        except UnreadableArchive as error:
            raise UnreadableArchive(f"{error}".replace(f"{copy}", f"{path}")) from None


def _model_class(path: Path, module: types.ModuleType) -> Any:
    """Return what the only class that a handler module defines, which TorchServe takes, names as its model."""
    classes = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module.__name__]
    name = f"{module.__name__.rpartition('.')[2]}.py"
    if len(classes) != 1:
        names = ", ".join(kind.__name__ for kind in classes) or "none"
        raise UnreadableArchive(f"{path}: expected one class in {name} to run it in process, got {names}")
    model_class = getattr(classes[0], "model_class", None)
    if not callable(model_class):
        got = f"{classes[0].__name__} without one"
        raise UnreadableArchive(
            f"{path}: expected a model_class of the handler in {name}, got {got}: {HOW_TO_RUN_IN_PROCESS}"
        )
    return model_class


class _NoRequestError(Exception):
    """The `RequestError` of an archive without our ``wire``: nothing that it raises is one."""


def _check_model(path: Path, model: Any) -> ModelMetadata:
    """Return a model's metadata; raise `UnreadableArchive` where it is none that a client can call."""
    for name in ("metadata", "predict", "explanations"):
        if not callable(getattr(model, name, None)):
            raise UnreadableArchive(f"{path}: expected a model with {name}() to run it in process, got none")
    try:
        return ModelMetadata.from_dict(model.metadata())
    except ValueError as error:
        raise UnreadableArchive(f"{path}: {error}") from None


def place(error: BaseException, folder: Path) -> str:
    """Return where in the archive an exception was raised: `` (model_defs/own.py:3)``."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    inside = [(Path(file).relative_to(folder), line) for file, line in places if file.startswith(f"{folder}{os.sep}")]
    return f" ({inside[-1][0]}:{inside[-1][1]})" if inside else ""


def import_isolated(folder: Path, prefix: str, name: str) -> types.ModuleType:
    """Import a module of an unpacked archive as ``<prefix>.<name>``."""
    package = types.ModuleType(prefix)
    package.__path__ = [str(folder)]
    sys.modules[prefix] = package
    sys.meta_path.insert(0, _ArchiveFinder(folder, prefix))
    return importlib.import_module(f"{prefix}.{name}")


def forget(prefix: str) -> None:
    """Remove all modules that were imported under a prefix."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "prefix", None) != prefix]
    for name in [name for name in sys.modules if name == prefix or name.startswith(f"{prefix}.")]:
        del sys.modules[name]


class _ArchiveFinder:
    """Finder of ``<prefix>.*`` in the unpacked archive."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.prefix = prefix
        scoped = _ScopedImports(folder, prefix)

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
        loaders = (self._loader, [".py"]), (ExtensionFileLoader, EXTENSION_SUFFIXES)
        return FileFinder(next(iter(path)), *loaders).find_spec(fullname)


class _ScopedImports:
    """The ``__import__`` of an archive's modules: it looks in the archive first.

    Also for ``importlib.import_module`` and ``importlib.resources.files``, which take names instead of statements.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder, self._prefix = folder, prefix
        resources = _with_functions(importlib.resources, files=self._files)
        self._replacements = {
            "importlib": _with_functions(importlib, import_module=self._import_module, resources=resources),
            "importlib.resources": resources,
        }

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> types.ModuleType:
        if level or not self._is_own(name):
            module = builtins.__import__(name, globals, locals, fromlist, level)
            return module if level else self._replacements.get(module.__name__, module)
        importlib.import_module(f"{self._prefix}.{name}")
        if fromlist:
            return builtins.__import__(f"{self._prefix}.{name}", globals, locals, fromlist, 0)
        return sys.modules[f"{self._prefix}.{name.partition('.')[0]}"]

    def _is_own(self, name: str) -> bool:
        top = self._folder / name.partition(".")[0]
        files = (top.with_name(f"{top.name}{suffix}") for suffix in (".py", *EXTENSION_SUFFIXES))
        return top.is_dir() or any(file.is_file() for file in files)

    def _import_module(self, name: str, package: str | None = None) -> types.ModuleType:
        return importlib.import_module(self._own_name(name), package)

    def _files(self, anchor: Any) -> Any:
        return importlib.resources.files(self._own_name(anchor) if isinstance(anchor, str) else anchor)

    def _own_name(self, name: str) -> str:
        return f"{self._prefix}.{name}" if not name.startswith(".") and self._is_own(name) else name


def _with_functions(module: types.ModuleType, **functions: Any) -> types.ModuleType:
    copy = types.ModuleType(module.__name__)
    later = partial(getattr, module)  # a submodule that is imported later
    vars(copy).update({**vars(module), "__getattr__": later, **functions})
    return copy
