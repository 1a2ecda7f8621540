"""What a log of records can do, wherever it is kept."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from auditing.records import Record
from wire.user_error import UserError

R = TypeVar("R", bound=Record)


class LogFailed(UserError):
    """The log cannot be opened or read, or did not take what was to be kept."""


class AuditLog(Protocol):
    """Records in the order in which they were appended; nothing is ever changed."""

    name: str
    """Where it is, without passwords."""

    def keep(self, records: Sequence[Record]) -> None:
        """Append records of one kind: all of them, and durable, when it returns.

        Raises
        ------
        LogFailed
            None of them was taken, or nobody can tell; they may be given again.
        """

    def tidy(self) -> None:
        """Put in order what runs that crashed have left; nothing is lost by leaving it."""

    def read(self, kind: type[R], **equal: str | int) -> list[R]:
        """Records of a kind whose fields have these values, by run and sequence number.

        Raises
        ------
        LogFailed
            It cannot be read.
        """

    def close(self) -> None:
        """End it properly."""
