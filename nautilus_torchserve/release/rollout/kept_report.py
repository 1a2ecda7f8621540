"""What a command says at the end of a rollout: nothing half-said, whatever disk is full."""

from pathlib import Path

from nautilus_torchserve.release.rollout.report import UNRECORDED, Report, Unrecorded, check_writable
from nautilus_torchserve.user_error import UserError, describe


def check_reports(folder: Path) -> None:
    """Refuse a folder that takes no report, before anything is begun."""
    try:
        check_writable(folder)
    except OSError as error:
        raise UserError(f"{describe(error)}: expected a folder that takes the report; nothing was begun") from None


def keep_report(report: Report, folder: Path) -> tuple[Path | None, list[str]]:
    """Write the report; returns its path, and what could not be written and why."""
    try:
        return report.write(folder), []
    except OSError as error:
        return None, [f"the report could not be written: {describe(error)}"]


def raise_if_not_ok(report: Report, unwritten: list[str]) -> None:
    """End the command as its report says.

    Raises
    ------
    Unrecorded
        The server is as was asked, but something could not be written down.
    UserError
        It is not.
    """
    serving = f"default version now: {report.default or 'unknown'}"
    if report.outcome == UNRECORDED:
        unwritten = [
            f"{report.failed_at} failed: {report.reason}; python scripts/rollout.py repair writes it down",
            *unwritten,
        ]
    elif not report.ok:
        raise UserError("; ".join([f"{report.failed_at}: {report.reason}", serving, *unwritten]))
    if unwritten:
        what = f"{report.model}: {report.action} of {report.version} is done ({serving})"
        raise Unrecorded("; ".join([f"{what}, but {unwritten[0]}", *unwritten[1:]]))
