"""Headlines from folders, globs, archives and columnar files are those of one CSV."""

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.news.headlines import load_headlines

S = 1_704_067_200
"""2024-01-01T00:00:00Z."""
ROWS = [["Müller wächst", S, "ACME;OTHER"], ["„Kauf“ \u2014 CAFÉ»", S + 60, "acme"], ["x, y", S + 120, "OTHER"]]
NAMES = ["headline", "published", "tickers"]
CSV = pd.DataFrame(ROWS, columns=NAMES).to_csv(index=False)
LINES = CSV.splitlines(keepends=True)
FRAME = pd.DataFrame([[text, pd.Timestamp(s, unit="s", tz="UTC"), names.split(";")] for text, s, names in ROWS])
FRAME.columns = pd.Index(NAMES)
OBJECTS = [dict(zip(NAMES, [text, s, names.split(";")], strict=True)) for text, s, names in ROWS]
ID = "ACME.NASDAQ"


def parts(folder: Path) -> Path:
    (folder / "news-1.csv").write_text(LINES[0] + "".join(LINES[1:3]))
    (folder / "news-2.csv.gz").write_bytes(gzip.compress("".join([LINES[0], *LINES[2:]]).encode()))
    (folder / "README.md").write_text("x")
    return folder


def archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "news.zip", "w") as file:
        file.writestr("2024/1.jsonl", json.dumps(OBJECTS[0]) + "\r\n" + json.dumps(OBJECTS[1], indent=1) + "\n")
        file.writestr("2024/2.csv", LINES[0] + LINES[3])
    return folder / "news.zip"


def written(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder / name

    return write


def columnar(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pytest.importorskip("pyarrow")
        FRAME.to_parquet(folder / name) if name.endswith("parquet") else FRAME.to_feather(folder / name)
        return folder / name

    return write


FORMS: dict[str, Callable[[Path], Path]] = {
    "a folder": parts,
    "a glob": lambda folder: parts(folder) / "news-*",
    "an archive": archive,
    "a list": written("news.json", json.dumps(OBJECTS, indent=2)),
    "Windows-1252": written("news.csv", CSV.encode("cp1252")),
    "Parquet": columnar("news.parquet"),
    "Feather": columnar("news.feather"),
}


@pytest.mark.parametrize("form", FORMS)
def test_headlines_in_any_form_are_those_of_one_file(tmp_path: Path, form: str) -> None:
    headlines = load_headlines(FORMS[form](tmp_path), ID, 0)

    expected = load_headlines(written("expected.csv", CSV)(tmp_path), ID, 0)
    assert [*headlines] == [*expected]
    assert [headline.text for headline in headlines] == [ROWS[0][0], ROWS[1][0]]
    assert any("Windows-1252" in note for note in headlines.notes) == (form == "Windows-1252")
    assert any("taken once" in note for note in headlines.notes) == (form in ("a folder", "a glob"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (CSV.encode() + "Ü,1,A\n".encode("cp1252"), r"line 5: expected text .*b'\\xdc' in a file that is UTF-8 else"),
        (json.dumps(OBJECTS, indent=1)[:-5].encode(), r"line 17: expected a JSON object, got: "),
        (json.dumps(OBJECTS).encode() + b"x", r"line 1: expected the end of the list, got '\]x'"),
        (json.dumps(OBJECTS[0]).encode() * 2, "line 1: expected a JSON object a line, got .* after one"),
        (b"PAR1", "expected a Parquet file, got unreadable data"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(BadData, match=reason):
        load_headlines(written("news.csv", content)(tmp_path), ID, 0)
