"""Imports of an archive's modules under a prefix of their own.

Archives carry the packages they were built with (``nautilus_torchserve``, ``handlers``, a user's own). Two versions
must not see each other's, nor those of the checkout. So an archive's modules are imported under a prefix, and their
``import`` statements look there first: a module's globals may carry its own ``__builtins__``, and with them its own
``__import__``.
"""

import builtins
import importlib
import importlib.resources
import sys
import types
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any


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
