"""Databento's binary encoding (DBN), converted to the CSV that Databento delivers of the same records.

Source: databento.com/docs/standards-and-conventions/databento-binary-encoding. The conversion is that of Databento's
own library ``databento-dbn``, the extra ``dbn``.
"""

import io

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.bad_data import BadData

MAGIC = b"DBN"
"""First bytes of a file."""


def dbn_to_csv(name: str, content: bytes) -> bytes:
    """Return the records as CSV with a header: prices in billionths, times in Unix ns, the symbol last.

    Parameters
    ----------
    name : str
        Name of the file, for messages.

    Raises
    ------
    BadData
        The content is damaged or of several kinds of records, or the library is not installed.
    """
    try:
        import databento_dbn as dbn
    except ImportError:
        raise BadData(
            f"{name}: expected the extra dbn to read Databento's binary encoding with: "
            "pip install 'nautilus-torchserve[dbn]'"
        ) from None
    output = io.BytesIO()
    try:
        transcoder = dbn.Transcoder(
            output,
            dbn.Encoding.from_str("csv"),
            dbn.Compression.from_str("none"),
            pretty_px=False,
            pretty_ts=False,
            map_symbols=dbn.Metadata.decode(content).stype_out == dbn.SType.INSTRUMENT_ID,
        )
        transcoder.write(content)
        transcoder.finish()
    except (dbn.DBNError, ValueError, OverflowError, OSError) as error:
        raise BadData(f"{name}: expected Databento's binary encoding, got unreadable data: {error}") from None
    _check_records(name, np.frombuffer(content, np.uint8, offset=8 + int.from_bytes(content[4:8], "little")))
    return output.getvalue()


def _check_records(name: str, records: NDArray[np.uint8]) -> None:
    """Refuse records of several kinds, of which the conversion would leave some out, and one that was cut off.

    A record begins with its length in words of four bytes and its kind.
    """
    if not len(records):
        return
    length = 4 * int(records[0])
    if rest := len(records) % length:
        raise BadData(f"{name}: expected whole records, got {rest} bytes of one at the end; download it again")
    heads = records.reshape(-1, length)[:, :2]
    if (other := (heads != heads[0]).any(axis=1)).any():
        row, kind = int(other.argmax()), int(heads[0, 1])
        raise BadData(f"{name}: record {row + 1}: expected the kind of the first one, {kind}, got {heads[row, 1]}")
