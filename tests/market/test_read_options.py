"""Times on local clocks, lines of a file, and jumps of trades: read exactly, or refused with what helps."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.market.bars.checks import examine
from nautilus_torchserve.market.bars.load import load_bar_files
from nautilus_torchserve.market.data_files import CsvRecords, DataFile, FileRows
from nautilus_torchserve.market.news.headlines import load_headlines
from nautilus_torchserve.market.news.load import load_news_bars
from nautilus_torchserve.market.read_options import BadReadOption, ReadOptions
from nautilus_torchserve.market.trades.load import load, load_files
from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import BadData, check

HEADER = "timestamp,open,high,low,close,volume\n"
ZONES = ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu", "UTC")
HOUR = timedelta(hours=1)


def bars_of(folder: Path, stamps: list[str]) -> Path:
    path = folder / "acme.csv"
    path.write_text(HEADER + "".join(f"{stamp},10,10,10,10,1\n" for stamp in stamps))
    return path


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9


@settings(max_examples=40, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    year=st.integers(2001, 2025),  # times to come are refused
    month=st.sampled_from([3, 4, 10, 11]),
    hours=st.integers(0, 24 * 28),
    step_minutes=st.sampled_from([10, 15, 30, 60]),
    count=st.integers(2, 400),
)
def test_local_times_match_the_clocks_of_the_zone(
    zone: str, year: int, month: int, hours: int, step_minutes: int, count: int
) -> None:
    start = datetime(year, month, 1, tzinfo=UTC) + hours * HOUR
    moments = [start + timedelta(minutes=step_minutes) * at for at in range(count)]
    local = [moment.astimezone(ZoneInfo(zone)) for moment in moments]

    with TemporaryDirectory() as folder:
        path = bars_of(Path(folder), [f"{each:%Y-%m-%d %H:%M}" for each in local])
        if len({each.fold for each in local if _repeats(each)}) == 1:  # they run through the repeated hour once
            with pytest.raises(BadData, match="expected a time that occurs once"):
                load_bar_files(path, read=ReadOptions("close", zone))
            return
        bars = load_bar_files(path, read=ReadOptions("close", zone))
    assert bars.ts_event.tolist() == [ns(moment) for moment in moments]
    assert bars.notes == ()


def _repeats(local: datetime) -> bool:
    """Whether clocks showed this twice; where they skipped a time the later offset is the larger one."""
    first, second = (local.replace(fold=fold).utcoffset() for fold in (0, 1))
    return first is not None and second is not None and first > second


def test_times_that_clocks_skip_or_repeat_are_refused_with_their_line(tmp_path: Path) -> None:
    read = ReadOptions(timezone="America/New_York")
    skipped = bars_of(tmp_path, ["2024-03-10 01:30", "2024-03-10 02:30", "2024-03-10 03:30"])
    with pytest.raises(BadData, match=r"line 3, column 'timestamp': expected a time that clocks of America/New_York"):
        load_bar_files(skipped, read=read)

    repeated = bars_of(tmp_path, ["2024-11-03 00:30", "2024-11-03 01:30", "2024-11-03 02:30"])
    with pytest.raises(BadData, match=r"line 3, .*: expected a time that occurs once .*; give times with their offset"):
        load_bar_files(repeated, read=read)


def test_times_without_an_offset_are_taken_as_utc_with_a_note(tmp_path: Path) -> None:
    stamps = ["2024-01-01T00:00:00Z", "2024-01-01T00:01:00", "2024-01-01 00:02"]

    bars = load_bar_files(bars_of(tmp_path, stamps))

    (note,) = bars.notes
    assert "2 of 3 times in column 'timestamp' carry no offset and were taken as UTC, first in line 3" in note
    assert note in examine(bars).lines()
    assert load_bar_files(bars_of(tmp_path, [f"{1_704_067_200 + 60 * at}" for at in range(3)])).notes == ()
    assert load_bar_files(bars_of(tmp_path, [f"2024-01-01T00:0{at}+02:00" for at in range(3)])).notes == ()


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "America/Sao_Paulo"])
@pytest.mark.parametrize("written", ["date", "clock", "offset"])
def test_a_local_day_ends_at_the_midnight_that_follows_it(tmp_path: Path, zone: str, written: str) -> None:
    """Days of 23 and 25 hours, and in Sao Paulo a day that begins at one o'clock."""
    if (zone, written) == ("America/Sao_Paulo", "clock"):
        pytest.skip("its clocks skip midnight: such a file cannot be")
    days = [datetime(2018, 10, 1, tzinfo=ZoneInfo(zone)) + timedelta(days=at) for at in range(185)]
    starts = [day.astimezone(UTC).astimezone(ZoneInfo(zone)) for day in days]  # the first instant of each day
    formats = {"date": lambda at: f"{at:%Y-%m-%d}", "clock": lambda at: f"{at:%Y-%m-%d %H:%M}", "offset": str}

    stamps = [formats[written](at) for at in starts[:-1]]
    bars = load_bar_files(bars_of(tmp_path, stamps), read=ReadOptions(timezone=zone))

    assert bars.interval_ns == 86_400 * 10**9
    assert bars.ts_event.tolist() == [ns(at) for at in starts[1:]]
    assert set((np.diff(bars.ts_event) // (3_600 * 10**9)).tolist()) == {23, 24, 25}
    assert examine(bars).breaks.count == 0


def test_days_with_offsets_close_when_the_next_one_opens_and_utc_days_stay_utc_days(tmp_path: Path) -> None:
    local = [datetime(2024, 11, day, tzinfo=ZoneInfo("America/New_York")) for day in range(1, 7)]

    with_offsets = load_bar_files(bars_of(tmp_path, [str(day) for day in local]))
    assert with_offsets.ts_event[:-1].tolist() == [ns(day) for day in local[1:]]

    week_days = load_bar_files(bars_of(tmp_path, [str(day) for day in local if day.day not in (2, 3)]))
    assert "1 bars before a break in which the offset from UTC changed" in week_days.notes[0]

    days = [datetime(2024, 11, day, tzinfo=UTC) for day in range(1, 7)]
    utc = load_bar_files(bars_of(tmp_path, [str(day) for day in days]), read=ReadOptions(timezone="America/New_York"))
    assert utc.ts_event[:-1].tolist() == [ns(day) for day in days[1:]]


RECORDS = ["1,2\n", "\n", '"a\nb",2\r\n', '"x""y",3\n', "  \n", '"",""\n']


@given(st.lists(st.sampled_from(RECORDS), min_size=1, max_size=12))
@settings(deadline=None)
def test_lines_are_counted_as_an_editor_counts_them(records: list[str]) -> None:
    begins, line = [], 1
    for record in records:
        if record.strip():
            begins.append(line)
        line += record.count("\n")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        path.write_text("".join(records), newline="")

        records = CsvRecords(DataFile(path), "utf-8", ",")
        rows = FileRows.of_file(records, 0, len(begins))
        assert [rows.line(row) for row in range(len(begins))] == begins
        assert records.line(len(begins)) is None
        assert [rows.take(slice(1, None)).line(row) for row in range(len(begins) - 1)] == begins[1:]
        assert CsvRecords(DataFile(Path(folder) / "gone.csv"), "utf-8", ",").line(0) is None


def test_what_a_spreadsheet_saved_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-trades-2025-01-27.csv"
    good = "1000000000,61024.9,4.26,259966.074,1738000000123,False,True"
    remedy = "open the published file, not one that a spreadsheet saved"
    for cell, lossy, place in (
        ("1738000000123", "1.73800E+12", "line 3, column 'time': expected a Unix time with all its digits"),
        ("1738000000123", "1.738000000123E+12", "line 3, column 'time': expected a Unix time with all its digits"),
        ("1000000000", "1.0E+09", "line 3, column 'id': expected a trade id with all its digits"),
    ):
        path.write_text(f"{good}\n\n{good.replace(cell, lossy)}\n")
        with pytest.raises(BadData) as error:
            load_files(path)
        assert str(error.value) == f"{path.name}: {place}, got {lossy!r}; {remedy}"
    for cell, lossy, says in (
        ("61024.9", "6.1E+05", "column 'price': expected a number with all its digits, got '6.1E+05'; the exponent"),
        ("61024.9", '"61,24.90"', "column 'price': expected a number, got '61,24.90'; write numbers without sep"),
    ):
        path.write_text(f"{good}\n{good.replace(cell, lossy)}\n")
        with pytest.raises(BadData, match=says.replace("+", r"\+")):
            load_files(path)
    with pytest.raises(BadData, match=r"line 2, .* got '01/02/2024 09:30'; say which with --date-order day-first or"):
        load_bar_files(bars_of(tmp_path, ["01/02/2024 09:30", "01/02/2024 09:31"]))


def test_trades_that_jump_are_refused_by_line_or_accepted_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-trades-2025-01.csv"
    prices = [100.5, 100.4, 10.04, 100.4]
    path.write_text("".join(f"{at},{one},1,1,{1_738_000_000_000 + at},true\n" for at, one in enumerate(prices, 1)))

    with pytest.raises(BadData) as error:
        load(path, 0, 0)
    trades = load(path, 0, 0, read=ReadOptions(allow_jumps=True))

    named = "line 3: price 10.04 after 100.40 (probably an unadjusted 10:1 split); line 4: price 100.40 after 10.04"
    assert f"2 of 4 prices jump: {named}" in str(error.value)
    assert str(error.value).endswith("or pass --allow-jumps where the market really moved so.")
    assert len(trades) == 4
    assert named in trades.notes[0]
    assert trades.read == ReadOptions(allow_jumps=True)


def test_decimals_that_no_engine_holds_are_refused_by_name() -> None:
    trades = simulate(3)

    with pytest.raises(BadData, match="expected a price of at most 16 decimals, got 17"):
        check(replace(trades, instrument=replace(trades.instrument, price_precision=17)))


def test_an_unknown_zone_is_refused() -> None:
    for name in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(BadReadOption, match="expected the IANA name of a timezone"):
            ReadOptions(timezone=name)


RATINGS = ''',headline,date,stock
0,"Chipmaker lifts outlook, shares ""pop""",2020-06-05 10:30:54-04:00,AAPL
1,Maker's 5" screen delayed again,2020-06-05 11:02:10-04:00,TSLA
2,A day alone,2020-06-05,AAPL
3,Naive,2020-06-05 14:00:00,AAPL
4,Holding company,2020-06-05 14:00:00,BRK.B
'''


def test_headlines_without_an_offset_are_of_the_zone_that_the_user_says(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(RATINGS)

    headlines = load_headlines(path, "AAPL.NASDAQ", 0)
    in_new_york = load_headlines(path, "AAPL.NASDAQ", 0, ReadOptions(timezone="America/New_York"))

    assert in_new_york.notes == headlines.notes[1:]
    zone = ZoneInfo("America/New_York")
    assert [each.ts_event for each in in_new_york] == [
        ns(datetime(2020, 6, 5, 10, 30, 54, tzinfo=zone)),
        ns(datetime(2020, 6, 5, 14, tzinfo=zone)),
        ns(datetime(2020, 6, 6, tzinfo=zone)),
    ]
    stamps = [f"2020-06-0{day}T10:00:00Z" for day in (5, 6, 7)]
    bars, _ = load_news_bars(bars_of(tmp_path, stamps), path, 0, 0, "AAPL.NASDAQ", delay_ns=0)
    assert bars.notes == headlines.notes


@pytest.mark.parametrize(
    "values", [("AAPL", "TSLA"), ("$AAPL", "BRK.B"), ("NASDAQ:AAPL", "BTC-USDT"), ("AAPL;MSFT", "")]
)
def test_an_unknown_column_of_symbols_is_refused(tmp_path: Path, values: tuple[str, str]) -> None:
    path = tmp_path / "news.csv"
    path.write_text("headline,date,firm\n" + "".join(f"Up,2020-06-05T10:00:00Z,{value}\n" for value in values))
    jsonl = tmp_path / "news.jsonl"
    jsonl.write_text("".join(f'{{"title": "Up", "date": 1591351200, "firm": "{value}"}}\n' for value in values))

    for each in (path, jsonl):
        with pytest.raises(
            BadData, match=r"expected instruments in a column named .*, got column 'firm' of what look like symbols"
        ):
            load_headlines(each, "AAPL.NASDAQ", 0)


@pytest.mark.parametrize("values", [("AAPL", "AAPL"), ("Apple", "TSLA"), ("1", "2"), ("", "")])
def test_other_columns_stay_ignored(tmp_path: Path, values: tuple[str, str]) -> None:
    path = tmp_path / "news.csv"
    stamp = "2020-06-05T10:00:00Z"
    rows = "".join(f"Up,{stamp},{value},{lang}\n" for value, lang in zip(values, ("EN", "DE"), strict=True))
    path.write_text("headline,date,firm,language\n" + rows)

    assert len(load_headlines(path, "AAPL.NASDAQ", 0)) == 2
