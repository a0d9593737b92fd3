"""Read published nights with Polars: how many pairs of each label a night has, and which pairs a person should look at.

python examples/read_with_polars.py s3://labels/

The argument is an `--output-root` of `albert-infer nightly`, with one folder `dt=YYYY-MM-DD` for each night.
"""

from __future__ import annotations

import sys

import polars as pl


def nights(root: str) -> pl.LazyFrame:
    """The labelled pairs of all nights, with the date of the night as `dt`. Folders like `_runs/` are not read."""
    return pl.scan_parquet(f"{root.rstrip('/')}/dt=*/*.parquet", hive_partitioning=True)


def labels_by_night(pairs: pl.LazyFrame) -> pl.DataFrame:
    """One row for each night and label: how many pairs, and the mean probability of that label."""
    probability = pl.max_horizontal("p_entailment", "p_neutral", "p_contradiction")
    counted = pairs.group_by("dt", "label").agg(pl.len().alias("pairs"), probability.mean().alias("probability"))
    return counted.sort("dt", "label").collect()


def least_sure(pairs: pl.LazyFrame, rows: int = 10) -> pl.DataFrame:
    """The pairs whose label has the smallest probability."""
    probability = pl.max_horizontal("p_entailment", "p_neutral", "p_contradiction").alias("probability")
    columns = ["dt", "premise", "hypothesis", "label", "probability"]
    return pairs.with_columns(probability).sort("probability").select(columns).head(rows).collect()


if __name__ == "__main__":
    labelled = nights(sys.argv[1])
    print(labels_by_night(labelled))
    print(least_sure(labelled))
