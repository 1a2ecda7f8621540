"""One content in every dialect of CSV."""

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.market.bars.bars import PRICES
from nautilus_torchserve.market.bars.load import load_bar_files


@settings(max_examples=40, deadline=None)
@given(
    delimiter=st.sampled_from(",;\t|"),
    comma=st.booleans(),
    group=st.sampled_from(["", "group", "'", "\u00a0"]),
    quoted=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    date=st.sampled_from(["%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M", "%Y%m%d %H%M%S", "%Y.%m.%d %H:%M:%S"]),
)
def test_every_dialect_gives_the_same_bars(
    delimiter: str, comma: bool, group: str, quoted: bool, encoding: str, newline: str, date: str
) -> None:
    rows = [(f"2024-01-31 09:0{at}", 17000.5 + at, 17100.25 + at, 16990.25, 17050.75, 1234 + at) for at in range(4)]
    quote = '"' if quoted or delimiter == "," else ""

    def number(value: float) -> str:
        text = f"{value:,}" if group else f"{value}"
        separator = ("." if comma else ",") if group == "group" else group
        return text.replace(",", "#").replace(".", "," if comma else ".").replace("#", separator)

    lines = [["time", "open", "high", "low", "close", "volume"]]
    for at, *values in rows:
        lines.append([f"{datetime.fromisoformat(at):{date}}", *map(number, values)])
    text = newline.join(delimiter.join(f"{quote}{cell}{quote}" for cell in line) for line in lines) + newline
    with TemporaryDirectory() as folder:
        path = Path(folder) / "acme.csv"
        path.write_bytes(text.encode(encoding))
        bars = load_bar_files(path)

    assert len(bars) == len(rows)
    assert [bars.prices(name)[0] for name in PRICES] == [17000.5, 17100.25, 16990.25, 17050.75]
    assert bars.volumes().tolist() == [1234, 1235, 1236, 1237]
    assert str(bars.ts_event[0].astype("datetime64[ns]")).startswith("2024-01-31T09:01:00")
