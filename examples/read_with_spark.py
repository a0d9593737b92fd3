"""Read published nights with Spark: how many pairs of each label a night has, and the input rows that have no label.

spark-submit examples/read_with_spark.py s3a://labels/ s3a://inbox/

The arguments are an `--output-root` and an `--input-root` of `albert-infer nightly`. In a night, each pair needs a
`pair_id` of its own.
"""

from __future__ import annotations

import sys

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sql


def nights(spark: SparkSession, root: str) -> DataFrame:
    """All files below the root, with the date of the night as `dt`. Spark skips folders like `_runs/`."""
    return spark.read.parquet(root)


def labels_by_night(labelled: DataFrame) -> DataFrame:
    """One row for each night, with a column for each label."""
    return labelled.groupBy("dt").pivot("label", ["entailment", "neutral", "contradiction"]).count().orderBy("dt")


def without_label(pairs: DataFrame, labelled: DataFrame) -> DataFrame:
    """The rows of the input that have no label: they were rejected, or their night is not published."""
    return pairs.join(labelled.select("dt", "pair_id"), on=["dt", "pair_id"], how="left_anti")


if __name__ == "__main__":
    session = SparkSession.builder.appName("albert-infer labels").getOrCreate()
    labels = nights(session, sys.argv[1])
    labels_by_night(labels).show()
    missing = without_label(nights(session, sys.argv[2]), labels)
    missing.groupBy("dt").agg(sql.count("*").alias("without_label")).orderBy("dt").show()
