"""Configurations are read as Java reads them; what is written means the same to Java and to TorchServe's launcher."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ts.model_server import load_properties

from nautilus_torchserve.serving.server.properties import (
    BadProperties,
    find_line,
    format_properties,
    read_properties,
    set_property,
)
from support import PROJECT

DUMP = """
import java.io.InputStream;
import java.nio.file.*;
import java.util.*;

public class Dump {
    static String hex(String text) {
        StringBuilder units = new StringBuilder();
        for (char unit : text.toCharArray()) units.append(String.format("%04x", (int) unit));
        return units.toString();
    }

    public static void main(String[] folder) throws Exception {
        for (int number = 0; Files.exists(Path.of(folder[0], "" + number)); number++) {
            Properties read = new Properties();
            StringJoiner pairs = new StringJoiner(" ");
            try (InputStream file = Files.newInputStream(Path.of(folder[0], "" + number))) {
                read.load(file);
                for (String key : read.stringPropertyNames()) pairs.add(hex(key) + "=" + hex(read.getProperty(key)));
                System.out.println(pairs);
            } catch (IllegalArgumentException error) {
                System.out.println("refused");
            }
        }
    }
}
"""
PIECES = [
    b"a",
    b"b",
    b"key",
    b"=",
    b":",
    b" ",
    b"\t",
    b"\f",
    b"\n",
    b"\r",
    b"\r\n",
    b"\\",
    b"\\\\",
    b"\\\n",
    b"\\\r\n  ",
    b"#",
    b"!",
    b"u",
    b"\\u0041",
    b"\\u12",
    b"\\ud83d\\ude00",
    b"\xe9",
    b"\xc3\xbc",
    b"\x85",
    b"\x1c",
    b"\x0b",
    b'{"',
]
NO_VALUE = re.compile(rb"(^|[\r\n])[ \t\f]*((\\[\s\S]|[^ \t\f\r\n=:\\])+\\?|\\)([ \t\f]|[\r\n]|$)")
"""A line without key and value: Java reads an empty one."""


def as_java(text: str) -> str:
    return text.encode("utf-16-be", "surrogatepass").hex()


def random_files(seed: int, count: int) -> list[bytes]:
    draw = random.Random(seed)
    return [b"".join(draw.choice(PIECES) for _ in range(draw.randint(0, 14))) for _ in range(count)]


def java_reads(folder: Path) -> list[dict[str, str] | None]:
    """Return what ``java.util.Properties`` reads from files 0, 1, ...; None for one that it refuses."""
    (folder / "Dump.java").write_text(DUMP)
    command = ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", folder / "Dump.java", folder]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [None if line == "refused" else dict(pair.split("=") for pair in line.split()) for line in lines]


@pytest.mark.skipif(shutil.which("javac") is None, reason="needs a JDK, the oracle")
def test_files_are_read_as_java_reads_them(tmp_path: Path) -> None:
    files = random_files(seed=13, count=2000)
    for number, content in enumerate(files):
        (tmp_path / str(number)).write_bytes(content)
    read = refused = 0
    for number, expected in enumerate(java_reads(tmp_path)):
        try:
            got = read_properties(tmp_path / str(number))
        except BadProperties:
            assert expected is None or NO_VALUE.search(files[number]), files[number]
            refused += 1
        else:
            assert {as_java(key): as_java(value) for key, value in got.items()} == expected, files[number]
            read += 1
    assert read > 500
    assert refused > 100


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_written_properties_are_read_back(tmp_path: Path, properties: dict[str, str]) -> None:
    properties = {key: value for key, value in properties.items() if key not in ("vmargs", "plugins_path")}

    (tmp_path / "written").write_text(format_properties(properties))

    assert read_properties(tmp_path / "written") == properties


def test_launcher_and_java_read_the_same_vmargs(tmp_path: Path) -> None:
    properties = read_properties(PROJECT / "config.properties") | {"model_store": "/ü"}

    (tmp_path / "written").write_text(format_properties(properties))

    assert read_properties(tmp_path / "written") == properties
    assert load_properties(str(tmp_path / "written"))["vmargs"] == properties["vmargs"]
    with pytest.raises(BadProperties, match="launcher"):
        format_properties({"vmargs": "-Dfolder=C:\\logs"})


@pytest.mark.parametrize(
    ("content", "read"),
    [
        (b'models={\\\n  "tick": {\\\n  }\\\n}\nb=1\n', {"models": '{"tick": {}}', "b": "1"}),
        (b"a : http\\://h\\:1\r\n! no pair\r\nb  2\r\n", {"a": "http://h:1", "b": "2"}),
        (b"folder=/\xe9\n", {"folder": "/é"}),
        (b"a=1\na=2\n", {"a": "2"}),
        (b"a=1 \n", {"a": "1 "}),
        (b"load_models=\n", {"load_models": ""}),
    ],
)
def test_layouts_of_others(tmp_path: Path, content: bytes, read: dict[str, str]) -> None:
    (tmp_path / "config.properties").write_bytes(content)

    assert read_properties(tmp_path / "config.properties") == read


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"\xef\xbb\xbfa=1\n", "1: expected no byte order mark"),
        ("a=1\n".encode("utf-16"), "1: expected no byte order mark"),
        (b"a=1\n\n# C:\\users\nb=\\\n  C:\\users\n", r"5: .*four hexadecimal digits.* got '\\users'"),
        (b"a=1\nnonsense\n", "2: expected key=value, got 'nonsense'"),
        (b"a=1\r\n\\\r\nb=2\r\n", "2: expected key=value"),
    ],
)
def test_content_that_torchserve_would_misread_is_refused_with_its_line(
    tmp_path: Path, content: bytes, place: str
) -> None:
    (tmp_path / "bad").write_bytes(content)

    with pytest.raises(BadProperties, match=f"bad:{place}"):
        read_properties(tmp_path / "bad")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"# c\r\na=1\r\n", b"# c\r\na=1\r\nm=x\r\n"),
        (b"m={\\\n 1}\n\n! caf\xe9\nb=2", b"m=x\n\n! caf\xe9\nb=2\n"),
        (b"m:1\nb=2\nm 3\n", b"m=x\nb=2\n"),
        (b"", b"m=x\n"),
    ],
)
def test_all_other_lines_stay_as_they_are(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "config.properties"
    path.write_bytes(before)
    path.chmod(0o640)

    set_property(path, "m", "x")

    assert path.read_bytes() == after
    assert path.stat().st_mode & 0o777 == 0o640
    assert find_line(path, "m") == after[: after.index(b"m=x")].count(b"\n") + 1
    assert [file.name for file in tmp_path.iterdir()] == ["config.properties"]


def test_a_change_changes_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.properties"
    changed = 0
    for content in random_files(seed=14, count=400):
        path.write_bytes(content)
        try:
            before = read_properties(path)
        except BadProperties:
            continue
        set_property(path, "key", "{:}")
        assert read_properties(path) == before | {"key": "{:}"}, content
        changed += 1
    assert changed > 100
