"""TorchServe's ``config.properties``: read as Java reads it, changed, written.

TorchServe reads the file twice: its Java process as ``java.util.Properties``, its launcher line by line and without
escapes, for ``vmargs`` and ``plugins_path``. What is written here means the same to both.
"""

import codecs
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import javaproperties

from nautilus_torchserve.files.atomic_file import fresh_file, naming, settle
from nautilus_torchserve.files.state_file import read_small_file
from nautilus_torchserve.user_error import UserError

_LAUNCHER_KEYS = ("vmargs", "plugins_path")
_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_EMPTY_FIRST_LINE = re.compile(r"[ \t\f]*\\(\r|\n|\Z)")
_NOT_PLAIN = re.compile(r"[^ -~]|\\|^ ")


class BadProperties(UserError, ValueError):
    """A configuration that TorchServe would not read as it was meant, or cannot be started with.

    Parameters
    ----------
    message : str
        Names file and line, or the property.
    key : str
        The property, where it is one.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


def read_properties(path: Path) -> dict[str, str]:
    """Read keys and values as ``java.util.Properties`` does: Latin-1, escapes, continuation lines, the last one wins.

    Raises
    ------
    BadProperties
        A byte order mark, an escape that Java refuses, or a line without a value.
    """
    return {element.key: element.value for _, element in _parse(path) if isinstance(element, javaproperties.KeyValue)}


def find_line(path: Path, key: str) -> int | None:
    """Return the line (from 1) that gives a key its value; None where the file has no such key."""
    lines = [number for number, element in _parse(path) if _has_key(element, key)]
    return lines[-1] if lines else None


def format_properties(properties: Mapping[str, str]) -> str:
    """Return the ASCII text of a file that `read_properties` reads.

    Raises
    ------
    BadProperties
        A value of the launcher's that it cannot read.
    """
    return "".join(f"{_line(key, value)}\n" for key, value in properties.items())


def set_property(path: Path, key: str, value: str) -> None:
    """Change one property of a file, or add it at its end; all other lines, comments too, stay as they are.

    The file is replaced in one step: a server that is started meanwhile reads the old or the new one.

    Raises
    ------
    BadProperties
        As `read_properties` and `format_properties`.
    """
    elements = [element for _, element in _parse(path)]
    ending = "\r\n" if any(element.source.endswith("\r\n") for element in elements) else "\n"
    lines = [element.source for element in elements]
    if elements:  # the last line may lack its end, or go on into what follows
        lines[-1] = elements[-1].source_stripped + ending
    places = [index for index, element in enumerate(elements) if _has_key(element, key)]
    for index in reversed(places):
        del lines[index]
    lines.insert(places[0] if places else len(lines), _line(key, value) + ending)
    with naming(path), fresh_file(path.parent, path.name) as file:
        file.write("".join(lines).encode("latin-1"))
        settle(file, path, stat.S_IMODE(path.stat().st_mode))


def _parse(path: Path) -> Iterator[tuple[int, javaproperties.PropertiesElement]]:
    """Return the file's elements with the numbers of their first lines."""
    try:
        content = read_small_file(path)
    except ValueError as error:
        raise BadProperties(f"{path}: expected a configuration, got {error}") from None
    if content.startswith(_BYTE_ORDER_MARKS):
        raise BadProperties(
            f"{path}:1: expected no byte order mark, which Java takes for part of the first key, "
            "got one: save the file as UTF-8 without BOM"
        )
    elements = javaproperties.parse(content)
    number = 1
    while True:
        try:
            element = next(elements, None)
        except javaproperties.InvalidUEscapeError as error:
            number = _line_of_escape(content, number, error.escape)
            raise BadProperties(
                f"{path}:{number}: expected four hexadecimal digits after \\u, "
                f"got '{error.escape:.200}': write a backslash as \\\\"
            ) from error
        if element is None:
            return
        text = element.source
        if not isinstance(element, javaproperties.Comment) and _EMPTY_FIRST_LINE.match(text):
            raise BadProperties(f"{path}:{number}: expected key=value, got a line with nothing but a backslash")
        if isinstance(element, javaproperties.KeyValue) and not element.value and not re.search(r"[=: \t\f]", text):
            raise BadProperties(f"{path}:{number}: expected key=value, got {text.strip()!r:.200}")
        yield number, element
        number += len(re.findall(r"\r\n|\r|\n", text))


def _has_key(element: javaproperties.PropertiesElement, key: str) -> bool:
    return isinstance(element, javaproperties.KeyValue) and element.key == key


def _line_of_escape(content: bytes, begin: int, escape: str) -> int:
    """Return the line of an escape in the element that begins at a line."""
    lines = re.split(r"\r\n|\r|\n", content.decode("latin-1"))
    return next((number for number, line in enumerate(lines[begin - 1 :], begin) if escape in line), begin)


def _line(key: str, value: str) -> str:
    """Return one line that Java and the launcher read alike."""
    if key not in _LAUNCHER_KEYS:
        return javaproperties.join_key_value(key, value)
    if strange := _NOT_PLAIN.search(value):
        raise BadProperties(
            f"{key}={value:.200}: expected printable ASCII without backslashes, as TorchServe's "
            f"launcher reads no more, got {strange[0]!r:.200}"
        )
    return f"{key}={value}"
