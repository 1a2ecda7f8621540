"""The modules that a handler needs, which are packed into its archive."""

import ast
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from nautilus_torchserve.bundle import LIBRARY_ROOT
from nautilus_torchserve.user_error import UserError

LIBRARY = "nautilus_torchserve"
BUNDLED = ("handlers", "model_defs")
"""Packages of the bundle that may be packed."""
PACKED = tuple(
    f"{LIBRARY}.{name}"
    for name in (
        "bundle",
        "features",
        "inference",
        "models.json_mapping",
        "models.spec",
        "user_error",
        "wire",
        "worker",
    )
)
"""Parts of the library that may be packed. The others belong to clients, or to the trading side."""
_CATCH_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


class ForbiddenImport(UserError, ImportError):
    """Code to be packed imports what a server does not have."""


@dataclass(frozen=True)
class _Import:
    """One name in an import statement, or in a call of ``import_module`` with a literal."""

    module: str
    line: int
    optional: bool
    """Whether the import may be missing: inside of ``try`` with ``except ImportError``."""
    attribute: bool = False
    """Whether the name may be no module: ``b`` of ``from a import b``."""


def code_closure(
    project: Path,
    handler: Path,
    modules: Iterable[str] = (),
    code: Sequence[Path] = (),
    has_package: Callable[[str], bool] = lambda name: True,
    library: Path = LIBRARY_ROOT,
) -> dict[Path, Path]:
    """Return the modules that a handler imports, directly or not, and all files of the user's packages among them.

    The source is read, not run. Imports inside functions, relative ones and ``importlib.import_module("literal")``
    count; those under ``if TYPE_CHECKING`` do not.

    Parameters
    ----------
    project : Path
        The bundle: folder that holds ``handlers`` and ``model_defs``.
    handler : Path
        The handler's file, which a worker loads as a module of its own.
    modules : iterable of str
        Modules that are imported by name at run time: ``model_defs.price_lstm``.
    code : sequence of Path
        The user's code: each a package, or a folder of packages and modules.
    has_package : callable
        Tells whether a server has a package of this name installed.
    library : Path
        Folder that holds the library's package.

    Returns
    -------
    dict
        Path in the archive -> file, without the handler itself.

    Raises
    ------
    ForbiddenImport
        An import, without ``except ImportError``, of what a server does not have, or of an ambiguous name; the message
        gives file and line.
    """
    closure = _Closure(project, handler, [folder.resolve() for folder in code], has_package, library)
    for module in modules:
        closure.follow(_Import(module, 1, optional=False), handler)
    closure.follow_all()
    return dict(sorted(closure.members.items()))


class _Closure:
    def __init__(
        self, project: Path, handler: Path, code: Sequence[Path], has_package: Callable[[str], bool], library: Path
    ) -> None:
        self._library = library
        self.members: dict[Path, Path] = {}
        self._project, self._handler, self._code, self._has_package = project, handler, code, has_package
        self._own = _user_modules(code)
        self._used: set[str] = set()
        self._read: set[Path] = {handler}
        self._unread = [(handler, "")]  # with the package that relative imports start from

    def follow_all(self) -> None:
        for folder in self._code:
            if (folder / "__init__.py").is_file():
                self._use(folder.name, f"--code {folder}")
        while self._unread:
            file, package = self._unread.pop()
            for imported in _imports(file, package, self._display_path(file)):
                self.follow(imported, file)
        for folder in self._code:
            names = [name for name, root in self._own.items() if folder in (root, root / name)]
            if not self._used.intersection(names):
                raise ForbiddenImport(
                    f"--code {folder}: expected a package, or a folder of packages, that the model imports, "
                    f"got {', '.join(names) or 'none'}"
                )

    def follow(self, imported: _Import, importer: Path) -> None:
        top = imported.module.partition(".")[0]
        place = f"{self._display_path(importer)}:{imported.line}"
        if top in self._own:
            self._use(top, place)
        elif not _is_packed(imported.module):
            self._check_outside(imported, top, place)
            return
        root = self._own.get(top, self._library if top == LIBRARY else self._project)
        files, exists = _locate(root, imported.module)
        if not (exists or imported.optional or imported.attribute):
            raise ForbiddenImport(f"{place}: expected {imported.module} in {root / top}, got no such module")
        for file in files:
            member = file.relative_to(root)
            self.members[member] = file
            if file.suffix == ".py" and file not in self._read:
                self._read.add(file)
                self._unread.append((file, ".".join(member.parent.parts)))

    def _use(self, top: str, place: str) -> None:
        """Add one of the user's packages with all its files, once."""
        if top in self._used:
            return
        self._used.add(top)
        owner = "of Python" if top in sys.stdlib_module_names else "of a library that servers have installed"
        ours = {*BUNDLED, LIBRARY, self._handler.stem}
        if top in ours or (self._project / top / "__init__.py").is_file():
            owner = "of this project"
        elif top not in sys.stdlib_module_names and not self._has_package(top):
            owner = ""
        if owner:
            raise ForbiddenImport(f"{place}: {top} in {self._own[top]} has the name of a module {owner}: rename it")
        for file in _package_files(self._own[top], top):
            self.members[file.relative_to(self._own[top])] = file

    def _check_outside(self, imported: _Import, top: str, place: str) -> None:
        if imported.optional or top in sys.stdlib_module_names:
            return
        if top == LIBRARY or (self._project / top / "__init__.py").is_file():
            raise ForbiddenImport(f"{place}: expected imports of {', '.join(BUNDLED + PACKED)}, got {imported.module}")
        if self._has_package(top):
            return
        parents = [f"--code {folder.parent}" for folder in self._code if folder.name == top]
        remedy = parents[0] if parents else "your own package with --code DIR"
        raise ForbiddenImport(
            f"{place}: imports {imported.module}, which is neither in the archive nor among a server's packages (the "
            f"extra 'server' of setup.cfg): add {remedy}, or a library to that extra, or catch its ImportError"
        )

    def _display_path(self, file: Path) -> Path:
        roots = [root for root in (self._project, self._library) if file.is_relative_to(root)]
        return file.relative_to(roots[0]) if roots else file


def _is_packed(module: str) -> bool:
    """Return whether a module of ours may be packed."""
    return (
        module.partition(".")[0] in BUNDLED
        or module == LIBRARY
        or any(f"{module}.".startswith(f"{part}.") for part in PACKED)
    )


def _user_modules(code: Sequence[Path]) -> dict[str, Path]:
    """Return top-level name -> the folder that holds it, for the user's packages and modules."""
    folders: dict[str, Path] = {}
    for folder in code:
        if not folder.is_dir():
            raise ForbiddenImport(f"--code {folder}: expected a folder, got none")
        inside = [folder] if (folder / "__init__.py").is_file() else sorted(folder.iterdir())
        for path in inside:
            name = path.name.partition(".")[0]
            is_code = (path.is_dir() and "." not in path.name) or path.name.endswith((".py", *EXTENSION_SUFFIXES))
            if not is_code or not name.isidentifier() or name == "__pycache__":
                continue
            if folders.setdefault(name, path.parent) != path.parent:
                raise ForbiddenImport(f"--code {folder}: {name} is in {folders[name]} too: rename one of them")
    return folders


def _package_files(root: Path, top: str) -> Iterator[Path]:
    """Yield all files of a package, or the file of a module, without caches and hidden files."""
    for folder, inner, names in os.walk(root / top):
        inner[:] = sorted(name for name in inner if name != "__pycache__" and not name.startswith("."))
        for name in inner:
            if (Path(folder) / name).is_symlink():
                raise ForbiddenImport(f"{Path(folder) / name}: expected a folder, got a link to one")
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith((".pyc", ".pyo")):
                yield Path(folder) / name
    yield from _module_files(root / top)


def _locate(root: Path, module: str) -> tuple[list[Path], bool]:
    """Return the files that importing a module reads, packages first, and whether there is such a module."""
    files: list[Path] = []
    path = root
    parts = module.split(".")
    for depth, part in enumerate(parts, 1):
        path = path / part
        if (path / "__init__.py").is_file():
            files.append(path / "__init__.py")
        elif module_files := _module_files(path):
            return [*files, module_files[0]], depth == len(parts)
        elif not path.is_dir():
            return files, False
    return files, True


def _module_files(path: Path) -> list[Path]:
    files = (path.with_name(f"{path.name}{suffix}") for suffix in (".py", *EXTENSION_SUFFIXES))
    return [file for file in files if file.is_file()]


def _imports(file: Path, package: str, display_path: Path) -> list[_Import]:
    """Return every module that a file may import: ``from a import b`` may import the module ``a.b``."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise ForbiddenImport(f"{display_path}:{line}: expected Python, got {error}") from None
    return list(_walk(tree, package, display_path, optional=False))


def _walk(node: ast.AST, package: str, display_path: Path, optional: bool) -> Iterator[_Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield _Import(alias.name, node.lineno, optional)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute("." * node.level + (node.module or ""), package, f"{display_path}:{node.lineno}")
        yield _Import(base, node.lineno, optional)
        for alias in node.names:
            yield _Import(f"{base}.{alias.name}", node.lineno, optional, attribute=True)
    elif isinstance(node, ast.Call) and (name := _literal_import(node)):
        yield _Import(_absolute(name, package, f"{display_path}:{node.lineno}"), node.lineno, optional)
    for part in _parts(node):
        may_fail = isinstance(node, ast.Try) and part in node.body and any(map(_catches, node.handlers))
        yield from _walk(part, package, display_path, optional or may_fail)


def _parts(node: ast.AST) -> Iterable[ast.AST]:
    """Return the children of a node, without what only type checkers read."""
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        return node.orelse
    return ast.iter_child_nodes(node)


def _catches(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(node, ast.Name) and node.id in _CATCH_IMPORT_ERRORS for node in ast.walk(handler.type))


def _literal_import(call: ast.Call) -> str | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    first = call.args[0] if call.args else None
    is_import = name in ("import_module", "__import__") and isinstance(first, ast.Constant)
    return first.value if is_import and isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _absolute(name: str, package: str, place: str) -> str:
    """Return a module's full name; ``package`` is what leading dots start from."""
    module = name.lstrip(".")
    level = len(name) - len(module)
    if not level:
        return module
    start = package.split(".") if package else []
    if level > len(start):
        inside = f"package {package}" if package else "a handler, which a worker loads without its package"
        raise ForbiddenImport(f"{place}: expected an absolute import in {inside}, got {name}")
    return ".".join([*start[: len(start) - level + 1], *([module] if module else [])])
