"""The dates of nightly runs in their paths: a segment `dt=YYYY-MM-DD` of an input or output."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta


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


def _date(told: str) -> date | None:
    try:
        night = date.fromisoformat(told)
    except ValueError:
        return None
    # As it is written, because fromisoformat also reads 20261121 and 2026-W47-6.
    return night if night.isoformat() == told else None
