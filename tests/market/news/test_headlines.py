"""Files of headlines are read as they are, or refused by file and line."""

import csv
import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.market.news.headlines import Headline, load_headlines
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.trades import BadData

T_S = 1_704_067_200
"""2024-01-01T00:00:00Z."""
T = T_S * 10**9
SECOND, HOUR, DAY = 10**9, 3600 * 10**9, 86_400 * 10**9
SIM = "SIMUSD.SIM"


def written(folder: Path, text: str, name: str = "news.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def at(
    ts_event: int, delay_ns: int = 5, text: str = "Up", source: str = "", names: tuple[str, ...] = (SIM,)
) -> Headline:
    return Headline(text, source, names, ts_event, ts_event + delay_ns)


def as_csv(headlines: list[Headline], path: Path) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Text", "Source", "Instrument_IDs", "TS_Event", "TS_Init"])
        for headline in headlines:
            writer.writerow(
                [headline.text, headline.source, ";".join(headline.instrument_ids), headline.ts_event, headline.ts_init]
            )
    return path


def as_jsonl(headlines: list[Headline], path: Path) -> Path:
    keys = ("title", "source", "symbols", "published", "received")
    with path.open("w", encoding="utf-8", newline="") as file:
        for headline in headlines:
            values = (headline.text, headline.source, headline.instrument_ids, headline.ts_event, headline.ts_init)
            file.write(
                json.dumps(dict(zip(keys, values, strict=True)), ensure_ascii=len(headline.text) % 2 == 0) + "\n"
            )
    return path


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1).filter(str.strip)
NAMES = st.lists(st.sampled_from([SIM, "BTC-PERP.DERIBIT", "ETH/USD.KRAKEN", "BRK.B.XNYS"]), min_size=1, unique=True)


@st.composite
def some_headlines(draw: st.DrawFn) -> list[Headline]:
    published = draw(st.lists(st.integers(T, T + 365 * DAY), min_size=1, max_size=12))
    return [
        at(time, draw(st.integers(0, 3)), draw(TEXTS), draw(st.text("abc ,\"'\n;")), tuple(draw(NAMES)))
        for time in published
    ]


@pytest.mark.parametrize("write", [as_csv, as_jsonl])
@given(some_headlines())
def test_what_was_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, write: "type[as_csv]", headlines: list[Headline]
) -> None:
    path = write(headlines, tmp_path_factory.mktemp("news") / "news.txt")

    assert load_headlines(path) == sorted(headlines, key=lambda headline: headline.ts_init)


@pytest.mark.parametrize(
    "stamp",
    [
        *(f"{T_S}{zeros}" for zeros in ("", "000", "000000", "000000000", ".0")),
        "2024-01-01T00:00:00Z",
        "2024-01-01 00:00",
        "2024-01-01 01:00:00.000000+01:00",
        "2023-12-31T19:00:00.000000000-0500",
        "2023-12-31",
    ],
)
def test_every_way_to_write_a_time_is_the_same_time(tmp_path: Path, stamp: str) -> None:
    path = written(tmp_path, f"published,text\n {stamp},Up\n")

    assert load_headlines(path, SIM, delay_ns=5) == [at(T)]


def test_date_without_a_time_is_known_at_the_end_of_its_day(tmp_path: Path) -> None:
    rows = ("date,text,received", "2024-01-01,Up,2024-01-02T00:00:07Z", "2024-01-03T10:00,Down,2024-01-03")
    path = written(tmp_path, "\n".join(rows))

    headlines = load_headlines(path, SIM)

    assert [(headline.ts_event - T, headline.ts_init - T) for headline in headlines] == [
        (DAY, DAY + 7 * SECOND),
        (2 * DAY + 10 * HOUR, 3 * DAY),
    ]


def test_nanoseconds_stay_exact(tmp_path: Path) -> None:
    path = written(tmp_path, "time,ts_init,text\n2024-01-01T00:00:00.123456789Z,1704067200123456790,Up\n")

    (headline,) = load_headlines(path, SIM)

    assert (headline.ts_event, headline.ts_init) == (T + 123_456_789, T + 123_456_790)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_csv_may_have_any_usual_delimiter_order_and_line_end(tmp_path: Path, delimiter: str) -> None:
    rows = [
        ["Source", "id", "Headline ", "TimeStamp", "Tickers"],
        ["Wire", "1", '"Up, at last;\r\nsays ""A|B""\tInc."', f"{T_S + 60}", '"SIMUSD.SIM | ETH/USD.KRAKEN"'],
        ["", "2", "  Naïve 🚀 日本", f"{T_S}", '"ETH/USD.KRAKEN,SIMUSD.SIM;SIMUSD.SIM"'],
    ]
    text = "\ufeff" + "\r\n".join(delimiter.join(row) for row in rows) + "\r\n\r\n"

    assert load_headlines(written(tmp_path, text), delay_ns=5) == [
        at(T, text="  Naïve 🚀 日本", names=("ETH/USD.KRAKEN", SIM)),
        at(T + 60 * SECOND, text='Up, at last;\r\nsays "A|B"\tInc.', source="Wire", names=(SIM, "ETH/USD.KRAKEN")),
    ]


def test_a_header_in_quotes_does_not_hide_its_delimiter(tmp_path: Path) -> None:
    path = written(tmp_path, f'"text";"date"\n"Up, at last";"{T_S}"\n')

    assert load_headlines(path, SIM, delay_ns=5) == [at(T, text="Up, at last")]


def test_objects_hold_their_instruments_as_text_or_list(tmp_path: Path) -> None:
    objects = [
        {"Title": "Up", "time": T_S, "symbol": SIM, "source": None, "id": 7},
        {"Title": "Up", "time": "1704067201", "symbol": [SIM, "ETHUSD.SIM"], "source": "Wire"},
        {"symbol": f"ETHUSD.SIM {SIM}", "source": "", "Title": "Up", "time": T_S * 1000 + 2000},
    ]
    path = written(tmp_path, "\n\n".join(json.dumps(each) for each in objects[:2]) + "\n", "news.jsonl")
    other = written(tmp_path, json.dumps(objects[2]), "other.ndjson")

    assert load_headlines(path, delay_ns=5) == [
        at(T),
        at(T + SECOND, source="Wire", names=(SIM, "ETHUSD.SIM")),
    ]
    assert load_headlines(other, delay_ns=5) == [at(T + 2 * SECOND, names=("ETHUSD.SIM", SIM))]


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", f"text,date\nUp,{T_S}\n"), ("a.jsonl", f'{{"text":"Up","date":{T_S}}}')]
)
def test_compressed_files_are_read_too(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(text.encode()))

    assert load_headlines(path, SIM, delay_ns=5) == [at(T)]


def test_headlines_come_by_time_of_receipt_and_else_as_in_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "text,published,received\n"
        + "".join(
            f"{text},{T_S + published},{T_S + received}\n"
            for text, published, received in (("a", 3, 9), ("b", 1, 8), ("c", 4, 8), ("d", 2, 2), ("e", 0, 8))
        ),
    )

    assert [each.text for each in load_headlines(path, SIM)] == ["d", "b", "c", "e", "a"]


MIXED = (
    f"text,date,symbol\nboth,{T_S},SIMUSD.SIM;ETHUSD.SIM\nother,{T_S},ETHUSD.SIM\n"
    f"bare,{T_S},SIMUSD\nelsewhere,{T_S},SIMUSD.X\n"
)


@pytest.mark.parametrize(
    "column", ["symbol", "Symbols", "stock", "Stock", "stocks", "ticker", "tickers", "instrument", "asset", "coin"]
)
def test_of_other_instruments_only_what_names_ours_too_is_kept(tmp_path: Path, column: str) -> None:
    headlines = load_headlines(written(tmp_path, MIXED.replace("symbol", column)), SIM, delay_ns=0)

    assert [(headline.text, headline.instrument_ids) for headline in headlines] == [
        ("both", (SIM, "ETHUSD.SIM")),
        ("bare", (SIM,)),
    ]


@pytest.mark.parametrize(
    ("cell", "instrument_id", "names"),
    [
        ("BRK.B", "BRK.B.NYSE", ("BRK.B.NYSE",)),
        ("aapl", "AAPL.NASDAQ", ("AAPL.NASDAQ",)),
        ("$AAPL", "AAPL.NASDAQ", ("AAPL.NASDAQ",)),
        ("NASDAQ:AAPL", "AAPL.NASDAQ", ("AAPL.NASDAQ",)),
        ("NYSE:AAPL", "AAPL.NASDAQ", None),
        ("AAPL.XNAS", "AAPL.NASDAQ", None),
        ("AAPL;TSLA", "TSLA.NASDAQ", ("AAPL.NASDAQ", "TSLA.NASDAQ")),
        ("['AAPL', 'TSLA']", "AAPL.NASDAQ", ("AAPL.NASDAQ", "TSLA.NASDAQ")),
        ('["BRK.B"]', "BRK.B.NYSE", ("BRK.B.NYSE",)),
        ("{AAPL,BRK.B}", "AAPL.NASDAQ", ("AAPL.NASDAQ", "BRK.B")),
        ("('AAPL',)", "AAPL.NASDAQ", ("AAPL.NASDAQ",)),
        ("TSLA", "AAPL.NASDAQ", None),
        ("AAPLX", "AAPL.NASDAQ", None),
        ("[]", "AAPL.NASDAQ", ()),
        (" ", "AAPL.NASDAQ", ()),
    ],
)
def test_cell_of_symbols_decides_which_instruments_a_headline_is_about(
    tmp_path: Path, cell: str, instrument_id: str, names: tuple[str, ...] | None
) -> None:
    path = tmp_path / "news.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "date", "tickers"), ("Up", T_S, instrument_id), ("Down", T_S, cell)])

    headlines = load_headlines(path, instrument_id, 5)

    assert headlines == [at(T, names=(instrument_id,)), *([at(T, text="Down", names=names)] if names else [])]
    expected = [] if names else ["1 of 2 headlines name no" if names == () else "1 of 2 headlines are on other"]
    assert len(headlines.notes) == len(expected)
    assert all(text in note for text, note in zip(expected, headlines.notes, strict=True))


AS_DUMPED = ''',headline,date,stock
0,"Chip maker lifts its outlook, shares ""pop""",2020-06-05 10:30:54-04:00,AAPL
1,Maker's 5" screen is late,2020-06-05 11:02:10-04:00,TSLA
2,"Two
lines",2020-06-05 14:00:00,AAPL
3,Holders approve the split,2020-06-05 14:35:00-04:00,BRK.B
4.0,Market opens higher,2020-06-05 15:00:00-04:00,
5,Dated by its day,2020-06-07,AAPL
'''


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_dump_of_several_stocks_gives_one_its_own_headlines_and_counts_the_others(
    tmp_path: Path, encoding: str, line_end: str
) -> None:
    path = tmp_path / "ratings.csv"
    path.write_bytes(AS_DUMPED.replace("\n", line_end).encode(encoding))

    headlines = load_headlines(path, "AAPL.NASDAQ", delay_ns=2)

    assert [(headline.text, headline.ts_event // SECOND) for headline in headlines] == [
        (f"Two{line_end}lines", 1_591_365_600),
        ('Chip maker lifts its outlook, shares "pop"', 1_591_367_454),
        ("Dated by its day", 1_591_574_400),
    ]
    assert [note.removeprefix("ratings.csv: ") for note in headlines.notes] == [
        "2 of 6 times in column 'date' carry no offset and were taken as UTC, first in line 4 ('2020-06-05 14:00:00'); "
        "--timezone names another zone.",
        "2 of 6 headlines are on other instruments (TSLA.NASDAQ, BRK.B) and were left out.",
        "1 of 6 headlines name no instrument and were left out, first in line 7.",
    ]


def test_dates_that_end_with_the_year_are_in_the_order_that_the_user_says(tmp_path: Path) -> None:
    path = written(tmp_path, "text;date\nUp;01.02.2024 09:30\n")

    (headline,) = load_headlines(path, SIM, 5, ReadOptions(timezone="UTC", date_order="day-first"))

    assert headline.ts_event == T + 31 * DAY + 9 * HOUR + HOUR // 2
    with pytest.raises(BadData, match="line 2, column 'date': expected a date whose day and month"):
        load_headlines(path, SIM, 5)


PLAIN = f"text,published\nUp,{T_S}\n"
OBJECT = f'{{"text": "Up", "date": {T_S}}}'
RECEIVED = f"text,published,received\nUp,{T_S},{T_S}\n"


@pytest.mark.parametrize(
    ("text", "instrument_id", "delay_ns", "message"),
    [
        ("", SIM, 0, "expected at least one headline, got an empty file"),
        ("text,date\n", SIM, 0, "expected at least one headline, got only a header"),
        ("label,date\nup,1\n", SIM, 0, "one column of text (text, headline, title), got only label, date"),
        ("text,when\nup,1\n", SIM, 0, "one column of published (published, published_at,"),
        ("text,title,date\na,b,1\n", SIM, 0, "one column of text (text, headline, title), got text and title"),
        ("Text,date,text\na,1,b\n", SIM, 0, "got Text and text"),
        ("text,date,time\na,1,2\n", SIM, 0, "got date and time"),
        (PLAIN, SIM, None, "(0 where news is known at once), got only text, published and no delay_ns"),
        (RECEIVED, SIM, 0, "expected no delay_ns, as 'received' holds times of receipt, got 0"),
        (PLAIN, None, 0, "expected a column of instruments, or an instrument_id for all headlines, got"),
        (PLAIN, "SIMUSD", 0, "expected an instrument like BTCUSDT.BINANCE, got 'SIMUSD'"),
        (MIXED, "XYZ.SIM", 0, "expected a headline on XYZ.SIM, got headlines only on SIMUSD.SIM, ETHUSD.SIM, SIMUSD.X"),
        (MIXED, None, 0, "line 4, column 'symbol': expected instruments like BTCUSDT.BINANCE, got"),
        (MIXED.replace("SIMUSD.X", "['SIMUSD.X'"), SIM, 0, "line 5, column 'symbol': expected symbols such as AAPL, "),
        (PLAIN + f'"two\nlines",{T_S}\n ,{T_S}\n', SIM, 0, "line 5: expected a headline's text, got ' '"),
        (PLAIN + f"Up, and away,{T_S}\n", SIM, 0, "line 3: expected 2 cells, got 3: ['Up', ' and away'"),
        (PLAIN + "Up\n", SIM, 0, "line 3: expected 2 cells, got 1: ['Up']"),
        (PLAIN + f'"Up" and away,{T_S}\n', SIM, 0, "line 3: expected cells separated by ',', got '\"Up\" and away,"),
        (
            PLAIN + f'"Up,{T_S}\nDown",{T_S}\n',
            SIM,
            0,
            "line 3: expected one headline, got several rows in a quoted cell",
        ),
        (PLAIN + f'"Up,{T_S}\n', SIM, 0, "line 3: expected cells separated by ',', got '\"Up,"),
        (PLAIN + "Up,today\n", SIM, 0, "line 3, column 'published': expected a number, got 'today'"),
        (PLAIN + "Up,12345\n", SIM, 0, "line 3, column 'published': expected Unix seconds or milliseconds or"),
        (PLAIN + f"Up,{T_S}.5x\n", SIM, 0, "line 3, column 'published': expected a number, got '1704067200.5x'"),
        (
            "text,date\nUp,2024-01-01\nUp,now\n",
            SIM,
            0,
            "line 3, column 'date': expected a time like 2024-01-31T09:30:00Z or",
        ),
        ("text,date\nUp,2024-01-01\nUp,2024-02-30\n", SIM, 0, "line 3, column 'date': expected a time like"),
        ("text,date\nUp,2024-01-01\nUp,\n", SIM, 0, "line 3, column 'date': expected a time like"),
        ("text,date\nUp,1969-07-20\n", SIM, 0, "line 2: expected a headline published in 1970 or later"),
        (RECEIVED + f"Up,{T_S},{T_S - 1}\n", SIM, None, f"(ts_event, {T}), got {T - SECOND}"),
        ('{"text": "Up"\n', SIM, 0, "line 1: expected a JSON object a line, got: Expecting ',' delimiter"),
        ('[{"text": "Up"}]\n', SIM, 0, "expected one column of published"),
        ('{"text": "Up", "date": 1, "date": 2}', SIM, 0, "got date and date"),
        (f'{OBJECT}\n{{"text": "Up"}}', SIM, 0, "line 2: expected date, text as in line 1, got text"),
        (f'{OBJECT}\n{{"text": "Up", "date": 1, "received": 1}}', SIM, 0, "got date, received, text"),
        (f'{{"text": null, "date": {T_S}}}', SIM, 0, "line 1, column 'text': expected a string, got None"),
        ('{"text": "Up", "date": true}', SIM, 0, "line 1, column 'date': expected a time, got True"),
        (OBJECT[:-1] + ', "symbol": [1]}', None, 0, "'symbol': expected a string, a list of strings or null, got [1]"),
        (OBJECT[:-1] + ', "symbol": []}', None, 0, "expected a headline on an instrument, got headlines that name no"),
        (f'{{"text": "\\ud83d", "date": {T_S}}}', SIM, 0, "line 1: expected a headline's text in Unicode characters"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(
    tmp_path: Path, text: str, instrument_id: str | None, delay_ns: int | None, message: str
) -> None:
    path = written(tmp_path, text)

    with pytest.raises(BadData, match=re.escape(message)) as caught:
        load_headlines(path, instrument_id, delay_ns)

    assert path.name in str(caught.value) or instrument_id == "SIMUSD"


def test_a_file_that_is_broken_or_absent_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "news.csv.gz"
    broken.write_bytes(gzip.compress(PLAIN.encode())[:-9])

    with pytest.raises(BadData, match=r"news\.csv\.gz: expected a readable file, got unreadable"):
        load_headlines(broken, SIM, 0)
    with pytest.raises(
        BadData, match=r"none\.csv: expected a file of headlines, a folder with such files, got a path that"
    ):
        load_headlines(tmp_path / "none.csv", SIM, 0)


def test_nothing_is_received_before_it_is_published(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected delay_ns of at least 0, got -1"):
        load_headlines(written(tmp_path, PLAIN), SIM, -1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": " \n"}, "expected a headline's text, got"),
        ({"source": "\udc80"}, "expected a headline's source in Unicode characters"),
        ({"instrument_ids": ()}, "expected a headline on at least one instrument, got none"),
        ({"instrument_ids": (SIM, "BTC USD.X")}, "expected an instrument like BTCUSDT.BINANCE, got 'BTC USD.X'"),
        ({"ts_init": T - 1}, "expected a headline received .* not before it was published .*, got 1704067199999999999"),
        ({"ts_event": -1}, "published in 1970 or later, got -1 ns"),
    ],
)
def test_invalid_headline_is_refused(change: dict, message: str) -> None:
    values = {"text": "Up", "source": "", "instrument_ids": (SIM,), "ts_event": T, "ts_init": T, **change}

    with pytest.raises(BadData, match=message):
        Headline(**values)
