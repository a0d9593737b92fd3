"""The dates of nightly runs, and their segment `dt=YYYY-MM-DD` in the path of an input or output."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, available_timezones


def checked_nights(location: str) -> str:
    """Return the location unchanged. Raises ValueError for a segment `dt=…` without a valid date, or in the future.

    Such a segment is a mistake of the script that made the path: an unset variable, for example. The labels would go
    to a folder that nobody reads.
    """
    # Some time zones are up to a day ahead of UTC.
    last = datetime.now(UTC).date() + timedelta(days=1)
    for segment in location.split("/"):
        if segment.startswith("dt="):
            night = _date(segment.removeprefix("dt="))
            if night is None:
                raise ValueError(f"`{segment}` is not a date; write dt=YYYY-MM-DD")
            if night > last:
                raise ValueError(f"`{segment}` is in the future")
    return location


def night_of(value: object) -> date:
    """The date that `value` is or spells. Raises ValueError for text that is not a date as YYYY-MM-DD."""
    if isinstance(value, date):
        return value
    night = _date(value) if isinstance(value, str) else None
    if night is None:
        raise ValueError(f"`{value}` is not a date; write YYYY-MM-DD")
    return night


def zone(name: str) -> tzinfo:
    """The time zone with that name. Raises ValueError for an unknown one. UTC needs no time-zone data."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:  # ZoneInfo looks for a file with that name
        if not available_timezones():
            raise ValueError("this machine has time-zone data for UTC only; install tzdata") from error
        raise ValueError(f"`{name}` is not a time zone; write it as Europe/Berlin") from error


def today(timezone: str) -> date:
    """The current date in that time zone."""
    return datetime.now(zone(timezone)).date()


def yesterday(timezone: str) -> date:
    """The date before today in that time zone."""
    return today(timezone) - timedelta(days=1)


def nights_between(first: date, last: date) -> tuple[date, ...]:
    """Every date from the first to the last, both included, in order."""
    return tuple(first + timedelta(days=day) for day in range((last - first).days + 1))


def _date(text: str) -> date | None:
    try:
        night = date.fromisoformat(text)
    except ValueError:
        return None
    # fromisoformat also accepts 20261121 and 2026-W47-6.
    return night if night.isoformat() == text else None
