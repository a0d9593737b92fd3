"""The dates in paths: an invalid date or a date in the future is a mistake."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from albert_infer.config.nights import checked_nights, night_of, nights_between, today, yesterday


def day(ahead: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=ahead)).isoformat()


@pytest.mark.parametrize("ahead", [-400, -1, 0, 1])
def test_nights_until_tomorrow_are_taken_as_they_are(ahead: int) -> None:
    for location in (f"s3://labels/dt={day(ahead)}/", f"dt={day(ahead)}", f"/data/dt={day(ahead)}/a.parquet"):
        assert checked_nights(location) == location


@pytest.mark.parametrize("location", ["labels", "s3://b/date=x/", "s3://b/not-dt=x/", "/data/xdt=/", "edt=5/a"])
def test_other_segments_are_nobodys_business(location: str) -> None:
    assert checked_nights(location) == location


@pytest.mark.parametrize(
    "told", ["", "{date}", "$DATE", "2026-1-1", "20260101", "2026-W01-1", "2026-02-30", "2026-01-01T00", " 2026-01-01"]
)
def test_what_is_no_date_is_refused(told: str) -> None:
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        checked_nights(f"s3://labels/dt={told}/")
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        night_of(told)


def test_a_night_that_lies_ahead_is_refused() -> None:
    # Three days, so that midnight may pass between the two looks at the clock.
    with pytest.raises(ValueError, match="future"):
        checked_nights(f"s3://labels/dt={day(3)}/part/")


def test_a_date_is_read_as_it_is_written() -> None:
    assert night_of("2024-02-29") == date(2024, 2, 29) == night_of(date(2024, 2, 29))


def test_nights_between_two_dates_are_all_days_of_the_calendar_both_ends_included() -> None:
    nights = nights_between(date(2024, 2, 27), date(2024, 3, 2))
    assert [night.day for night in nights] == [27, 28, 29, 1, 2]
    assert nights_between(date(2024, 2, 29), date(2024, 2, 29)) == (date(2024, 2, 29),)


def test_which_day_it_is_depends_on_the_time_zone() -> None:
    # 26 hours apart: never the same date.
    east, west = "Pacific/Kiritimati", "Etc/GMT+12"
    assert today(east) > today(west)
    assert yesterday(east) + timedelta(days=1) == today(east)
