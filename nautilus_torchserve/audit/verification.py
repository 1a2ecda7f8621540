"""Verification of a log's folder against its chain, byte for byte."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from nautilus_torchserve.audit.chain import Chain, Entry, Line, file_sha256
from nautilus_torchserve.audit.records import KINDS, LogFailed
from nautilus_torchserve.audit.segment import OPEN, PART, WHOLE, check_stream, is_written, read_segment

MAX_SCHEMA_BYTES = 1 << 20
"""Size limit of a stream without records."""
MISSING, ALTERED, TRUNCATED, INSERTED = "missing", "altered", "truncated", "inserted"


@dataclass(frozen=True)
class Finding:
    """A file that is not as it was written."""

    file: str
    """Path in the log's folder; of a line of the chain with its number."""
    problem: str
    """``missing``, ``altered``, ``truncated`` or ``inserted``."""
    expected: str
    got: str


@dataclass(frozen=True)
class Verification:
    """The result of comparing a folder with its chain."""

    entries: int
    """Lines of the chain."""
    segments: int
    """Parquet files that the chain names."""
    streams: int
    """Segments that are still written, or were left by a crash."""
    adopted: int
    """Parquet files from before the folder had a chain: their hashes are of when it got one."""
    unconfirmed: tuple[str, ...]
    """Streams whose writer crashed while it wrote its last records, which may be missing."""
    last_hash: str
    """Hash of the chain's last line."""
    findings: tuple[Finding, ...]
    """Empty: all is as it was written."""


def verify(folder: Path, known_hash: str | None = None) -> Verification:
    """Compare a log's folder with its chain; runs may write to it meanwhile.

    Parameters
    ----------
    known_hash : str, optional
        A hash that the chain has had, from a run's summary or log: it finds a chain that was cut off or written anew.

    Raises
    ------
    LogFailed
        The folder has no chain, or it cannot be read.
    """
    chain = Chain(folder)
    try:
        with chain.locked(shared=True):  # so that no segment becomes a Parquet file meanwhile; those do not change
            lines = chain.lines()
            files = set(_files(folder))
            state = _Segments(lines)
            of_streams = [finding for name in sorted(state.open) for finding in _open_findings(chain, name, files)]
        findings = [
            *_chain_findings(lines, known_hash),
            *state.findings,
            *(finding for name in sorted(state.whole) for finding in _whole_findings(folder, state.whole[name], files)),
            *(finding for finding in of_streams if isinstance(finding, Finding)),
            *_inserted(folder, state, files),
        ]
    except OSError as error:
        raise LogFailed(f"{folder}: expected a log with {chain.path.relative_to(folder)}, got {error}") from None
    whole = state.whole.values()
    unconfirmed = tuple(name for name in of_streams if isinstance(name, str))
    return Verification(
        len(lines),
        sum(entry.rows > 0 for entry in whole),
        len(state.open),
        sum(entry.event == "adopted" for entry in whole),
        unconfirmed,
        lines[-1].hash if lines else "",
        tuple(findings),
    )


class _Segments:
    """The segments as the chain's entries leave them."""

    def __init__(self, lines: list[Line]) -> None:
        self.open: set[str] = set()
        self.whole: dict[str, Entry] = {}
        self.findings: list[Finding] = []
        for line in lines:
            entry = line.entry
            if entry is None:
                continue
            name = entry.segment
            allowed = name in self.open if entry.event == "ended" else name not in self.open
            if not allowed or name in self.whole:
                self.findings.append(
                    Finding(
                        _line_name(line.number), INSERTED, f"one beginning and one end of {name[:100]}", entry.event
                    )
                )
            elif entry.event == "begun":
                self.open.add(name)
            else:
                self.open.discard(name)
                self.whole[name] = entry


def _files(folder: Path) -> Iterator[str]:
    """Yield the files of all kinds, and the sidecars."""
    for kind in KINDS:
        if (folder / kind.kind).is_dir():
            yield from (f"{kind.kind}/{path.name}" for path in (folder / kind.kind).iterdir())
    yield from (f"{path.parent.name}/{path.name}" for path in Chain(folder).path.parent.iterdir())


def _chain_findings(lines: list[Line], known_hash: str | None) -> Iterator[Finding]:
    for line in lines:
        if not line.is_whole:
            yield Finding(_line_name(line.number), ALTERED, f"hash {line.expected} and an entry", line.hash[:64])
    if known_hash is not None and known_hash not in {line.hash for line in lines}:
        others = f"{len(lines)} entries with other hashes"
        yield Finding(_line_name(), MISSING, f"an entry with hash {known_hash[:64]}", others)


def _whole_findings(folder: Path, entry: Entry, files: set[str]) -> Iterator[Finding]:
    if not entry.rows:
        return
    name = entry.segment + WHOLE
    path = folder / name
    if name not in files:
        if f"{entry.segment}{PART}" in files and f"{entry.segment}{OPEN}" in files:  # a crash before the last step
            name, path = entry.segment + PART, folder / f"{entry.segment}{PART}"
        else:
            yield Finding(name, MISSING, f"{entry.bytes} bytes", "no file")
            return
    try:
        size = _size(path)
        if size != entry.bytes:
            problem = TRUNCATED if size < entry.bytes else ALTERED
            yield Finding(name, problem, f"{entry.bytes} bytes", f"{size} bytes")
        elif (digest := file_sha256(path)) != entry.sha256:
            yield Finding(name, ALTERED, f"SHA-256 {entry.sha256}", digest)
    except OSError as error:
        yield Finding(name, ALTERED, "a file that can be read", error.strerror or f"{error}")


def _open_findings(chain: Chain, name: str, files: set[str]) -> Iterator[Finding | str]:
    """Yield what is wrong with a stream, or its name where a crash left its last records unconfirmed."""
    path, sizes = chain.folder / f"{name}{OPEN}", chain.sizes_of(name)
    sizes_name = f"{sizes.parent.name}/{sizes.name}"
    missing = [file for file in (name + OPEN, sizes_name) if file not in files]
    if missing:
        yield from (Finding(file, MISSING, "a segment that was not ended", "no file") for file in missing)
        return
    try:
        _size(path), _size(sizes)
        check = check_stream(path, sizes, is_written(path))
    except FileNotFoundError:
        yield Finding(name + OPEN, MISSING, "a segment that was not ended", "no file")
    except OSError as error:
        yield Finding(name + OPEN, ALTERED, "a file that can be read", error.strerror or f"{error}")
    else:
        if check.expected:
            yield Finding(name + OPEN, TRUNCATED if check.is_truncated else ALTERED, check.expected, check.got)
        elif not check.is_confirmed:
            yield name


def _size(path: Path) -> int:
    """Return a file's size; of anything else, whose reading might not end, raise OSError."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("no regular file")
    return status.st_size


def _has_no_records(path: Path) -> bool:
    try:
        return _size(path) < MAX_SCHEMA_BYTES and read_segment(path).num_rows == 0
    except (OSError, pa.ArrowException):
        return False


def _inserted(folder: Path, state: _Segments, files: set[str]) -> Iterator[Finding]:
    chain = Chain(Path())
    known = {f"{chain.path.parent.name}/{chain.path.name}"}
    for name in state.open:
        known |= {name + OPEN, name + PART, f"{chain.path.parent.name}/{chain.sizes_of(name).name}"}
    for name, entry in state.whole.items():
        if entry.rows:
            known.add(name + WHOLE)
        if name + WHOLE not in files:  # a crash before the last step leaves these
            known |= {name + PART, name + OPEN, f"{chain.path.parent.name}/{chain.sizes_of(name).name}"}
    for name in sorted(files - known):
        if name.endswith(OPEN) and _has_no_records(folder / name):  # a crash while it was begun
            files.discard(f"{chain.path.parent.name}/{chain.sizes_of(name.removesuffix(OPEN)).name}")
        elif name in files:
            yield Finding(name, INSERTED, "files that the chain names", "another")


def _line_name(number: int | None = None) -> str:
    path = Chain(Path()).path
    return f"{path}" if number is None else f"{path}:{number}"
