"""The dates of nightly runs, and their segment `dt=YYYY-MM-DD` in the path of an input or output."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, available_timezones


def checked_nights(location: str) -> str:
    """The location as it is; raises ValueError for a segment `dt=…` that is no date, or one that lies ahead.

    Either is a mistake of the script that made the path, a variable left unset, say, and would be labelled into a
    folder that nobody looks at.
    """
    # A day ahead of UTC is today in the far east.
    last = datetime.now(UTC).date() + timedelta(days=1)
    for segment in location.split("/"):
        if segment.startswith("dt="):
            night = _date(segment.removeprefix("dt="))
            if night is None:
                raise ValueError(f"`{segment}` is no date; write dt=YYYY-MM-DD")
            if night > last:
                raise ValueError(f"`{segment}` lies in the future")
    return location


def night_of(told: object) -> date:
    """The date that is written so. Raises ValueError for anything but YYYY-MM-DD, and a date of the calendar."""
    if isinstance(told, date):
        return told
    night = _date(told) if isinstance(told, str) else None
    if night is None:
        raise ValueError(f"`{told}` is no date; write YYYY-MM-DD")
    return night


def zone(name: str) -> tzinfo:
    """The time zone of that name. Raises ValueError for none; UTC is known on a machine without time-zone data too."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:  # it looks for a file of that name
        if not available_timezones():
            raise ValueError("no time-zone data is on this machine but UTC; install tzdata") from error
        raise ValueError(f"`{name}` is no time zone; write one as Europe/Berlin") from error


def today(timezone: str) -> date:
    """The date in that time zone, now."""
    return datetime.now(zone(timezone)).date()


def yesterday(timezone: str) -> date:
    """The last night that is over in that time zone."""
    return today(timezone) - timedelta(days=1)


def nights_between(first: date, last: date) -> tuple[date, ...]:
    """Every date from the first to the last, both of them included, in order."""
    return tuple(first + timedelta(days=day) for day in range((last - first).days + 1))


def _date(told: str) -> date | None:
    try:
        night = date.fromisoformat(told)
    except ValueError:
        return None
    # As it is written, because fromisoformat also reads 20261121 and 2026-W47-6.
    return night if night.isoformat() == told else None
