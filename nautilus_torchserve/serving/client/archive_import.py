"""An archive's handler in this process, with the archive's own code and no other.

Archives carry the packages they were built with (``handlers``, ``wire``, a user's own). Two versions
must not see each other's, nor those of the checkout. So an archive's modules are imported
under a prefix of their own, and their ``import`` statements look there first: a module's
globals may carry its own ``__builtins__``, and with them its own ``__import__``.
"""

import ast
import builtins
import importlib
import importlib.resources
import inspect
import itertools
import json
import logging
import os
import stat
import struct
import sys
import tempfile
import traceback
import types
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from nautilus_torchserve.serving.model_metadata import HOW_TO_DESCRIBE, ModelMetadata
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.digest import MANIFEST, combined_digest, member_digest

TRUSTED_VARIABLE = "ARCHIVE_TRUSTED_KEYS"
"""Environment variable: folder of the keys whose signatures archives need, where nothing else names one."""
_numbers = itertools.count()
# As in a worker, see `handlers`: before this process's first matrix product, or its bits may differ from a worker's.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
_MOST_MESSAGE = 300
_MAX_UNPACKED_BYTES = 4 << 30
_MAX_UNPACKED_SMALL_BYTES, _MAX_RATIO = 256 << 20, 100
"""What unpacks to more than the first has to be compressed by less than the second: bombs are, by 1,000."""
_MAX_MEMBERS = 10_000
_MAX_MANIFEST_BYTES = _MAX_SOURCE_BYTES = 1 << 20


class UnreadableArchive(UserError, ValueError):
    """A file that is no model archive, or one that does not load; names it and what is wrong."""


@contextmanager
def open_archive(path: Path) -> Iterator[ZipFile]:
    """Open a ``.mar`` to read it.

    Raises
    ------
    UnreadableArchive
        It is no zip file, or what is read of it inside the block is damaged or not there.
    """
    if not path.is_file():
        raise UnreadableArchive(f"{path}: a model archive expected, was no file")
    try:
        with ZipFile(path) as archive:
            _check_bounds(path, archive)
            yield archive
    except UserError:
        raise
    except (
        # what `zipfile` lets through of damaged files, besides its own: a flipped bit may ask for anything
        *(BadZipFile, ArithmeticError, EOFError, LookupError, MemoryError, NotImplementedError, OSError),
        *(RuntimeError, ValueError, struct.error, zlib.error),
    ) as error:
        raise UnreadableArchive(f"{path}: a model archive expected: {one_line(error)}") from error


def _check_bounds(path: Path, archive: ZipFile) -> None:
    """Refuse what would fill memory or disk, or overwrite one member by another, before anything is unpacked."""
    members = archive.infolist()
    if len(members) > _MAX_MEMBERS:
        raise UnreadableArchive(f"{path}: expected at most {_MAX_MEMBERS:,} members, got {len(members):,}")
    size = sum(member.file_size for member in members)
    if size > _MAX_UNPACKED_BYTES:
        raise UnreadableArchive(f"{path}: expected at most {_MAX_UNPACKED_BYTES:,} bytes unpacked, got {size:,}")
    if size > _MAX_UNPACKED_SMALL_BYTES and size > _MAX_RATIO * path.stat().st_size:
        raise UnreadableArchive(
            f"{path}: expected to unpack to at most {_MAX_RATIO} times its size, got {size:,} "
            f"bytes in {path.stat().st_size:,}"
        )
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise UnreadableArchive(f"{path}: expected every member once, got {twice!r:.100} twice")
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UnreadableArchive(f"{path}: expected files, got a link or device as {member.filename!r:.100}")
        parts = Path(member.filename.replace("\\", "/")).parts
        if ".." in parts or member.filename.startswith(("/", "\\")):
            raise UnreadableArchive(f"{path}: expected members inside the archive, got {member.filename!r:.100}")
        if member.filename == MANIFEST and member.file_size > _MAX_MANIFEST_BYTES:
            raise UnreadableArchive(
                f"{path}: expected {MANIFEST} of at most {_MAX_MANIFEST_BYTES:,} bytes, got {member.file_size:,}"
            )


def unpacked_bytes(path: Path) -> int:
    """Return what an archive unpacks to, bytes; raises `UnreadableArchive`."""
    with open_archive(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a ``.mar``, after a check of every member's checksum.

    Raises
    ------
    UnreadableArchive
    """
    with open_archive(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise UnreadableArchive(f"{path}: {damaged} is damaged")
        if MANIFEST not in archive.namelist():
            raise UnreadableArchive(f"{path}: a model archive expected, got a zip file without {MANIFEST}")
        manifest = json.loads(archive.read(MANIFEST))
    model = manifest.get("model") if isinstance(manifest, dict) else None
    for key in ("modelName", "modelVersion", "handler"):
        if not isinstance(model, dict) or not isinstance(model.get(key), str):
            raise UnreadableArchive(f"{path}: expected model.{key} as a text in {MANIFEST}, got {manifest!r:.60}")
    return manifest


def archive_digest(path: Path) -> str:
    """The content digest of a ``.mar``.

    Raises
    ------
    UnreadableArchive
    """
    with open_archive(path) as archive:
        return combined_digest(
            (member.filename, member_digest(member.filename, _pieces(archive, member)))
            for member in archive.infolist()
            if not member.is_dir()
        )


def _pieces(archive: ZipFile, member: ZipInfo) -> Iterator[bytes]:
    with archive.open(member) as file:
        while piece := file.read(1 << 20):
            yield piece


@dataclass(frozen=True)
class LoadedArchive:
    """An archive whose code lives in this process."""

    handler: Any
    """The archive's own handler, initialised."""
    metadata: ModelMetadata
    """Its description of itself."""
    request_error: type[Exception]
    """The archive's own `wire.errors.RequestError`, which is not this checkout's."""
    prefix: str
    """What its modules are called by in `sys.modules`."""

    def unload(self) -> None:
        """Forget the archive's modules."""
        _forget(self.prefix)


def load_archive(path: Path, folder: Path, model_name: str, trusted: Path | None = None) -> LoadedArchive:
    """Unpack an archive, import its handler and initialise it as a worker would.

    Parameters
    ----------
    path : Path
        The ``.mar``.
    folder : Path
        An empty folder to unpack to; must exist as long as the handler is used.
    model_name : str
        The name it is asked under.
    trusted : Path, optional
        Folder of the keys whose signature it needs: what is unpacked are the very bytes that were verified.

    Raises
    ------
    UnreadableArchive
        The file is no archive, its handler refuses its content, or it does not describe itself.
    Untrusted
        It is not signed by a trusted key.
    """
    if trusted is not None:
        return _load_verified(path, folder, model_name, trusted)
    manifest = read_manifest(path)
    name = handler_module(path, manifest)
    check_handler(path)
    with open_archive(path) as archive:
        archive.extractall(folder)
    logging.getLogger("ts.torch_handler").setLevel(logging.ERROR)  # warns at import of optional backends
    prefix = f"mar_{archive_digest(path)[:12]}_{next(_numbers)}"
    level = logging.getLogger().level
    try:
        module = _import_isolated(folder, prefix, name)
        handler = handler_class(path, module)()
        handler.initialize(_context(model_name, folder, manifest))
        metadata = _check_metadata(path, handler)
        errors = sys.modules.get(f"{prefix}.nautilus_torchserve.wire.errors")
        return LoadedArchive(handler, metadata, getattr(errors, "RequestError", _NoRequestError), prefix)
    except UserError:  # ours; the archive's own has another class
        _forget(prefix)
        raise
    except (Exception, SystemExit) as error:  # whatever the archive's code, which is not ours, may raise
        _forget(prefix)
        raise UnreadableArchive(f"{path}: {one_line(error)}{place(error, folder)}") from error
    finally:
        logging.getLogger().setLevel(level)  # handlers silence their worker; this process is the user's


def _load_verified(path: Path, folder: Path, model_name: str, trusted: Path) -> LoadedArchive:
    # Not at the top: a host that only trades has no library for signatures, and none to load archives either.
    from nautilus_torchserve.signing.archive_signature import verify_archive

    with tempfile.TemporaryDirectory(prefix="verified-") as place:
        copy = Path(place) / path.name
        with copy.open("wb") as file:
            verify_archive(path, trusted, copy=file)
        try:
            return load_archive(copy, folder, model_name)
        except UnreadableArchive as error:
            raise UnreadableArchive(f"{error}".replace(f"{copy}", f"{path}")) from None


def handler_module(path: Path, manifest: Mapping[str, Any]) -> str:
    """The module of an archive's handler, by TorchServe's rules.

    Raises
    ------
    UnreadableArchive
        The archive has no such file: it names one of TorchServe's own handlers, which do not describe themselves.
    """
    handler = manifest["model"]["handler"]
    name = handler.partition(":")[0].removesuffix(".py").rpartition("/")[2]
    with open_archive(path) as archive:
        if f"{name}.py" not in archive.namelist():
            raise UnreadableArchive(
                f"{path}: expected handler {handler!r} as {name}.py in the archive, got one of TorchServe's own, or "
                f"none: {HOW_TO_DESCRIBE}"
            )
    return name


def check_handler(path: Path) -> dict[str, Any]:
    """Refuse an archive whose handler no worker could load; return its manifest.

    Raises
    ------
    UnreadableArchive
        Its handler's module defines several classes, and no function for TorchServe to call.
    """
    manifest = read_manifest(path)
    handler, _, function = manifest["model"]["handler"].partition(":")
    name = f"{handler.removesuffix('.py').rpartition('/')[2]}.py"
    with open_archive(path) as archive:
        if name not in archive.namelist():
            return manifest  # one of TorchServe's own
        if (size := archive.getinfo(name).file_size) > _MAX_SOURCE_BYTES:
            raise UnreadableArchive(f"{path}: expected {name} of at most {_MAX_SOURCE_BYTES:,} bytes, got {size:,}")
        source = archive.read(name)
    if reason := second_class(source, function or "handle"):
        raise UnreadableArchive(f"{path}: {name}:{reason}")
    return manifest


def second_class(source: bytes, function: str = "handle") -> str:
    """Line and words of why a worker refuses to load a handler module; empty where it does not.

    TorchServe's loader calls the module's function of that name, else takes the only class that it defines.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""  # importing it says where
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    if len(classes) < 2 or function in functions:
        return ""
    return (
        f"{classes[1].lineno}: expected one class, TorchServe loads no handler with more, "
        f"got {', '.join(node.name for node in classes)}: keep the others in a module that it imports"
    )


def handler_class(path: Path, module: types.ModuleType) -> Any:
    """The only class that a handler module defines, as TorchServe takes it.

    Raises
    ------
    UnreadableArchive
        There is another number of classes.
    """
    classes = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module.__name__]
    if len(classes) != 1:
        names = ", ".join(kind.__name__ for kind in classes) or "none"
        name = f"{module.__name__.rpartition('.')[2]}.py"
        raise UnreadableArchive(f"{path}: expected one class in {name} to run it in process, got {names}")
    return classes[0]


def one_line(error: BaseException) -> str:
    """An exception's type and words, in one line of at most some 300 characters."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:_MOST_MESSAGE]}" if words else type(error).__name__


class _NoRequestError(Exception):
    """What an archive without our ``wire`` raises for a bad request: nothing that we know."""


def _check_metadata(path: Path, handler: Any) -> ModelMetadata:
    describe = getattr(handler, "describe_handle", None)
    try:
        metadata = ModelMetadata.from_dict(describe() if callable(describe) else None)
    except ValueError as error:
        raise UnreadableArchive(f"{path}: {error}") from None
    if not callable(getattr(handler, "predict", None)):
        raise UnreadableArchive(f"{path}: expected a handler with predict(inputs) to run it in process, got none")
    return metadata


def place(error: BaseException, folder: Path) -> str:
    """Where in the archive an exception came from: `` (model_defs/own.py:3)``."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    inside = [(Path(file).relative_to(folder), line) for file, line in places if file.startswith(f"{folder}{os.sep}")]
    return f" ({inside[-1][0]}:{inside[-1][1]})" if inside else ""


def _forget(prefix: str) -> None:
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "prefix", None) != prefix]
    for name in [name for name in sys.modules if name == prefix or name.startswith(f"{prefix}.")]:
        del sys.modules[name]


def _context(model_name: str, folder: Path, manifest: Mapping[str, Any]) -> Any:
    import torch
    import ts
    from ts.context import Context

    gpu = 0 if torch.cuda.is_available() else None
    return Context(model_name, str(folder), manifest, 1, gpu, ts.__version__)


def _import_isolated(folder: Path, prefix: str, name: str) -> types.ModuleType:
    package = types.ModuleType(prefix)
    package.__path__ = [str(folder)]
    sys.modules[prefix] = package
    sys.meta_path.insert(0, _ArchiveFinder(folder, prefix))
    return importlib.import_module(f"{prefix}.{name}")


class _ArchiveFinder:
    """Finds ``<prefix>.*`` in the unpacked archive."""

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
    """What an archive's modules import with: their own names first.

    Also in ``importlib.import_module`` and ``importlib.resources.files``, which take names instead of statements.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder, self._prefix = folder, prefix
        resources = _changed(importlib.resources, files=self._files)
        self._stand_ins = {
            "importlib": _changed(importlib, import_module=self._import_module, resources=resources),
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
            return module if level else self._stand_ins.get(module.__name__, module)
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


def _changed(module: types.ModuleType, **functions: Any) -> types.ModuleType:
    changed = types.ModuleType(module.__name__)
    later = partial(getattr, module)  # a submodule that is imported later
    vars(changed).update({**vars(module), "__getattr__": later, **functions})
    return changed
