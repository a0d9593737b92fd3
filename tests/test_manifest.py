"""A manifest is read whole and frozen, or refused: as none of ours, or as a newer version's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from albert_infer.errors import IntegrityError
from albert_infer.output.manifest import MANIFEST_FORMAT, Manifest, Seal, parsed

UNIT = "0123456789abcdef"
FILE: dict[str, Any] = {
    "path": f"part-a.parquet,000000000000,{UNIT},1-0123abcd.parquet",
    "unit_id": UNIT,
    "rows": 2,
    "bytes": 9,
    "sha256": "0" * 64,
    "version": "v",
    "summary": None,
}
SAID: dict[str, Any] = {
    "format": MANIFEST_FORMAT,
    "plan_id": "f" * 16,
    "publication": {"number": 1, "id": "0123abcd", "base": None},
    "rows_in": 2,
    "labelled": 2,
    "rejected": {},
    "labels": {"neutral": 2},
    "tokens": 20,
    "truncated": 0,
    "quarantined": {"files": [], "units": [], "rows_known": 0},
    "files": [FILE],
    "rejected_files": [],
    "replaces": [],
    "inputs": [{"name": "a.parquet", "size": 9, "version": "v", "rows": 2}],
    "model": {"digests": {"config.json": "0"}, "label_map": ["neutral"], "of a later version": {"and": ["deep", 1]}},
}


def read(said: object, kind: type[Manifest] = Manifest) -> Manifest:
    return parsed(json.dumps(said).encode(), kind, "s3://out/_SUCCESS")


@pytest.mark.parametrize("kind", [Manifest, Seal])
def test_what_was_written_is_read_again(kind: type[Manifest]) -> None:
    manifest = read(SAID, kind)
    assert json.loads(manifest.to_json()).items() >= SAID.items()
    assert parsed(manifest.to_json(), kind, "x") == manifest


def test_a_manifest_cannot_be_changed() -> None:
    manifest = read(SAID)
    for part, name in ((manifest, "labelled"), (manifest.publication, "number"), (manifest.files[0], "rows")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, 9)


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ({**SAID, "colour": "red"}, "colour"),
        ({**SAID, "files": [{**FILE, "colour": "red"}]}, "files.0.colour"),
        ({**SAID, "quarantined": {**SAID["quarantined"], "colour": "red"}}, "quarantined.colour"),
        ({**SAID, "line\nfeed": 1}, r"line\nfeed"),
    ],
)
@pytest.mark.parametrize("kind", [Manifest, Seal])
def test_a_key_of_a_newer_version_is_named_and_refused(kind: type[Manifest], said: object, key: str) -> None:
    with pytest.raises(IntegrityError) as refused:
        read(said, kind)
    assert str(refused.value).startswith("read s3://out/_SUCCESS: ")
    assert refused.value.problem == f"it has a key that this version does not know, {key}"
    assert "use the version of albert-infer that wrote it" in refused.value.remedy


def test_a_newer_format_is_told_as_such_whatever_else_is_in_it() -> None:
    for said in ({**SAID, "format": 2}, {"format": 2, "colour": "red"}):
        with pytest.raises(IntegrityError) as refused:
            read(said)
        assert refused.value.problem == "it has format 2, and this version reads 1"
        assert "newer" in refused.value.remedy


def test_what_is_no_manifest_is_told_as_such() -> None:
    wrong: list[object] = [{**SAID, "format": 0}, {**SAID, "labelled": "2"}, {**SAID, "labelled": "2", "colour": 1}]
    for said in ({}, [], None, *wrong):
        with pytest.raises(IntegrityError) as refused:
            read(said)
        assert refused.value.problem.startswith("it is not a manifest of ours")
