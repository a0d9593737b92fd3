"""Which nights the flags of the nightly job name, and which are refused."""

from __future__ import annotations

import sys
import zoneinfo
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest

from albert_infer.config import LabelSettings, NightlySettings, parse_settings
from albert_infer.config.nights import today, yesterday
from albert_infer.errors import SettingsError

ROOTS = ("--input-root", "in", "--output-root", "out")
EAST, WEST = "Pacific/Kiritimati", "Etc/GMT+12"


def parsed(*argv: str) -> NightlySettings:
    settings = parse_settings(NightlySettings, argv, program="label_nightly.py", about="Label nights.")
    assert settings is not None
    return settings


def test_without_dates_it_is_yesterday_in_the_time_zone() -> None:
    for zone in (EAST, WEST):
        assert parsed(*ROOTS, "--timezone", zone).nights == (yesterday(zone),)
        since = (yesterday(zone) - timedelta(days=2)).isoformat()
        assert parsed(*ROOTS, "--timezone", zone, "--since", since).nights[-1] == yesterday(zone)


def test_a_date_or_a_range_names_its_nights_in_order() -> None:
    assert parsed(*ROOTS, "--date", "2024-02-29").nights == (date(2024, 2, 29),)
    nights = parsed(*ROOTS, "--since", "2024-02-28", "--until", "2024-03-01").nights
    assert [night.isoformat() for night in nights] == ["2024-02-28", "2024-02-29", "2024-03-01"]


def test_a_night_may_have_begun_where_its_time_zone_says_so_and_may_not_lie_ahead() -> None:
    begun = today(EAST).isoformat()
    assert parsed(*ROOTS, "--date", begun, "--timezone", EAST).nights == (today(EAST),)
    with pytest.raises(SettingsError, match="is in the future"):
        parsed(*ROOTS, "--date", begun, "--timezone", WEST)


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (("--date", "20240229"), "YYYY-MM-DD"),
        (("--date", "2023-02-29"), "YYYY-MM-DD"),
        (("--date", "yesterday"), "YYYY-MM-DD"),
        (("--date", "2999-01-01"), "future"),
        (("--since", "2024-01-01", "--until", "2999-01-01"), "future"),
        (("--until", "2024-01-01"), "--since"),
        (("--date", "2024-01-01", "--since", "2024-01-01"), "either --date"),
        (("--since", "2024-01-02", "--until", "2024-01-01"), "later than"),
        (("--timezone", "Mars/Olympus"), "not a time zone"),
        (("--timezone", "../etc/passwd"), "not a time zone"),
        (("--partition", "nights"), "{date}"),
        (("--partition", "/dt={date}"), "{date}"),
        (("--partition", "../dt={date}"), "{date}"),
        (("--partition", "{date}/{hour}"), "{date}"),
        (("--partition", "dt=x{date}"), "not a date"),
        (("--missing", "ignore"), "--missing"),
        (("--on-change", "replace"), "--on-change"),
        (("--replace",), "--replace"),
        (("--input", "in"), "--input"),
    ],
)
def test_what_cannot_be_meant_is_refused(argv: tuple[str, ...], named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parsed(*ROOTS, *argv)
    assert named in str(refused.value)


def test_a_root_is_the_same_for_every_night() -> None:
    with pytest.raises(SettingsError, match="--partition only"):
        parsed("--input-root", "s3://inbox/dt={date}", "--output-root", "out")


def test_every_setting_of_a_run_is_one_of_its_nights_but_where_it_reads_and_writes() -> None:
    of_one_run = {"input", "output", "replace", "reference", "dry_run"}
    assert set(LabelSettings.model_fields) - set(NightlySettings.model_fields) == of_one_run
    assert parsed(*ROOTS, "--carry", "a,b", "--unit-rows", "7").carry == ("a", "b")


def test_without_time_zone_data_utc_is_known_and_of_others_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in an image without tzdata: neither the system's nor Python's package is found.
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.reset_tzpath(())
    ZoneInfo.clear_cache()
    try:
        assert parsed(*ROOTS).nights == (yesterday("UTC"),)
        with pytest.raises(SettingsError, match="install tzdata"):
            parsed(*ROOTS, "--timezone", "Europe/Berlin")
    finally:
        zoneinfo.reset_tzpath()
