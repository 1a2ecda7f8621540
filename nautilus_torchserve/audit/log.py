"""The interface of a log of records, wherever it is kept."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from nautilus_torchserve.audit.records import Record
from nautilus_torchserve.user_error import UserError

R = TypeVar("R", bound=Record)


class LogFailed(UserError):
    """The log cannot be opened or read, or did not take the records."""


class UnfitRecord(LogFailed):
    """Records of which at least one has a value that the log cannot hold; none of them was taken."""


class AuditLog(Protocol):
    """Records in the order in which they were appended; nothing is ever changed."""

    name: str
    """Path or URL of the log, without passwords."""
    last_hash: str | None
    """Hash of the chain of segments as of this log's last entry in it; None where a log has no chain."""

    def keep(self, records: Sequence[Record]) -> None:
        """Append records of one kind: all of them, and durable, when it returns.

        Raises
        ------
        UnfitRecord
            One of them can never be taken.
        LogFailed
            None of them was taken, or that is not known; they may be given again.
        """

    def tidy(self) -> None:
        """Finish the files of runs that crashed; nothing is lost without it."""

    def read(self, kind: type[R], **equal: str | int) -> list[R]:
        """Return records of a kind whose fields have these values, by run and sequence number.

        Raises
        ------
        LogFailed
            It cannot be read.
        """

    def close(self) -> None:
        """Close the log and finish its files."""
