"""Whether the labels of a run differ from those of earlier runs by more than chance and ordinary variation.

Each measure is a table of counts. Its distance is the Jensen-Shannon distance of the shares (base 2: 0 is the same, 1
has nothing in common). Its p-value is that of the G statistic (the likelihood ratio of two multinomials), from draws
under the pooled shares. Where there are three earlier runs or more, their own differences say how much larger than
chance the ordinary variation is, and all counts are divided by that.

Knows nothing of files. Sources: Lin 1991, Divergence measures based on the Shannon entropy; McCullagh and Nelder 1989,
Generalized Linear Models, 4.5 (over-dispersion).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from albert_infer.common.printable import how_many
from albert_infer.output.distribution import OTHER, Distribution
from albert_infer.preflight.sample import SampleCounts

Name = TypeVar("Name", str, tuple[str, str])

# Five measures at 0.2 % each: at most one ordinary run in a hundred is reported.
MAX_P_VALUE: Final = 0.002
DRAWS: Final = 5_000
# Values of a carried column that are compared one by one; of more, each would have few rows.
MAX_VALUES: Final = 20
# Labels that are compared one by one, where they are the best hypotheses of rows: a set may have thousands.
MAX_LABELS: Final = 100
# Fewer earlier runs say too little of their ordinary variation.
LEAST_RUNS_FOR_VARIATION: Final = 3


@dataclass(frozen=True)
class RunCounts:
    """What is compared of one run: rows by label, by reason without a label, and the distribution of the labels.

    `sample` counts the tokens that the checks read; None where the start read none. `columns` has the rows of some
    carried columns by value and label. `labelled` are the labelled rows, where `labels` does not count rows.
    """

    labels: Mapping[str, int]
    rejected: Mapping[str, int]
    distribution: Distribution
    sample: SampleCounts | None = None
    columns: Mapping[str, Mapping[tuple[str, str], int]] = field(default_factory=dict)
    labelled: int | None = None

    @property
    def rows(self) -> Mapping[str, int]:
        """All rows: the rejected ones by reason, and the labelled ones."""
        labelled = sum(self.labels.values()) if self.labelled is None else self.labelled
        return {**self.rejected, "labelled": labelled}


@dataclass(frozen=True)
class Measure:
    """One comparison. `variation` is how much larger than chance the earlier runs differ among themselves."""

    name: str
    distance: float
    p_value: float
    variation: float
    drifted: bool


@dataclass(frozen=True)
class Drift:
    """What was compared with which runs, and the result of each measure."""

    references: tuple[str, ...]
    measures: tuple[Measure, ...]

    @property
    def drifted(self) -> tuple[Measure, ...]:
        """The measures that differ by more than chance, ordinary variation and the limit."""
        return tuple(measure for measure in self.measures if measure.drifted)

    def to_text(self) -> str:
        """One line for a person."""
        runs = how_many(len(self.references), "earlier run")
        if not self.drifted:
            return f"labels, probabilities, lengths, words and rejected rows are as in {runs}"
        names = ", ".join(f"{measure.name} (distance {measure.distance:.3f})" for measure in self.drifted)
        return f"differs from {runs} in {names}"


def compared(run: RunCounts, references: Mapping[str, RunCounts], *, max_distance: float, draws: int = DRAWS) -> Drift:
    """Compare a run with earlier runs, by their URIs. A measure has drifted above `max_distance` and beyond chance."""
    measures = []
    for name, tables in _tables(run, list(references.values())).items():
        of_run, of_references = tables[0], tables[1:]
        variation = _variation(of_references)
        pooled = of_references.sum(axis=0)
        distance = jensen_shannon(of_run, pooled)
        p_value = _p_value(of_run / variation, pooled / variation, draws)
        drifted = bool(p_value <= MAX_P_VALUE and distance > max_distance)
        measures.append(Measure(name, round(distance, 4), p_value, round(variation, 2), drifted))
    return Drift(tuple(references), tuple(measures))


def _tables(run: RunCounts, references: Sequence[RunCounts]) -> dict[str, NDArray[np.float64]]:
    """Of each measure the counts of the run and of each earlier run, (runs, bins)."""
    runs = [run, *references]
    samples = [each.sample for each in runs if each.sample is not None and each.sample.tokens]
    unknown = np.array([(sample.unknown, sample.tokens - sample.unknown) for sample in samples], float)
    labels = _frequent_labels([each.labels for each in runs])
    return {
        **({"unknown words": unknown} if len(samples) == len(runs) else {}),
        # A rule that gives a score alone gives no labels.
        **({"labels": _table(labels)} if any(labels) else {}),
        "probabilities": _table(_by_bin([each.distribution for each in runs])),
        "lengths": np.array([each.distribution.tokens for each in runs], float),
        "rejected rows": _table([each.rows for each in runs]),
        **{
            f"labels by {column}": _table(_frequent_values([each.columns[column] for each in runs]))
            for column in run.columns
            if all(column in each.columns for each in runs)
        },
    }


def _frequent_labels(counts: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
    """The counts of the labels that are most frequent in all runs together; the other labels are one label."""
    label_of = _frequent((entry for each in counts for entry in each.items()), MAX_LABELS)
    return [_added((label_of(label), rows) for label, rows in each.items()) for each in counts]


def _frequent_values(counts: Sequence[Mapping[tuple[str, str], int]]) -> list[dict[tuple[str, str], int]]:
    """The counts of the values and of the labels that are most frequent in all runs together."""
    entries = [(value, label, rows) for each in counts for (value, label), rows in each.items()]
    value_of = _frequent(((value, rows) for value, _, rows in entries), MAX_VALUES)
    label_of = _frequent(((label, rows) for _, label, rows in entries), MAX_VALUES)
    return [
        _added(((value_of(value), label_of(label)), rows) for (value, label), rows in each.items()) for each in counts
    ]


def _frequent(counts: Iterable[tuple[str, int]], most: int) -> Callable[[str], str]:
    """A function that returns a name if it is one of the `most` frequent, else OTHER."""
    total = _added(counts)
    kept = {name for name, _ in Counter(total).most_common(most)}
    return lambda name: name if name in kept else OTHER


def _added(counts: Iterable[tuple[Name, int]]) -> dict[Name, int]:
    total: Counter[Name] = Counter()
    for name, rows in counts:
        total[name] += rows
    return dict(total)


def _by_bin(distributions: Sequence[Distribution]) -> list[dict[tuple[str, str], int]]:
    """The rows of each run by label and bin. Hypotheses that have no series in one of the runs are one label."""
    series = [each.confidence.keys() for each in distributions]
    has_others = any(OTHER in names for names in series)
    of_all = set.intersection(*map(set, series)) if has_others else set.union(*map(set, series))
    return [
        _added(
            ((name if name in of_all else OTHER, f"{number:03}"), rows)
            for name, counts in each.confidence.items()
            for number, rows in enumerate(counts)
        )
        for each in distributions
    ]


def _table(counts: Sequence[Mapping[Name, int]]) -> NDArray[np.float64]:
    names = sorted({name for each in counts for name in each})
    return np.array([[each.get(name, 0) for name in names] for each in counts], float)


def jensen_shannon(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The distance of two tables of counts; 0 where one of them is empty."""
    if not one.sum() or not other.sum():
        return 0.0
    p, q = one / one.sum(), other / other.sum()
    middle = (p + q) / 2
    divergence = (_entropy_terms(p, middle) + _entropy_terms(q, middle)) / 2
    return float(np.sqrt(max(divergence / np.log(2), 0.0)))


def _entropy_terms(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of o·ln(o/e) over the last axis; 0 where o is 0."""
    ratio = np.divide(observed, expected, out=np.ones_like(observed), where=observed > 0)
    terms: NDArray[np.float64] = (observed * np.log(ratio)).sum(axis=-1)
    return terms


def _g(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The likelihood ratio of two multinomials against one, over the last axis."""
    both = one + other
    rows_one, rows_other = one.sum(axis=-1, keepdims=True), other.sum(axis=-1, keepdims=True)
    shares = both / (rows_one + rows_other)
    return 2 * (_entropy_terms(one, shares * rows_one) + _entropy_terms(other, shares * rows_other))


def _variation(references: NDArray[np.float64]) -> float:
    """The mean G statistic of each earlier run against the others, over what chance alone gives; at least 1."""
    if len(references) < LEAST_RUNS_FOR_VARIATION:
        return 1.0
    total = references.sum(axis=0)
    freedom = max(int(np.count_nonzero(total)) - 1, 1)
    ratios = [float(_g(each, total - each)) / freedom for each in references]
    return max(1.0, float(np.mean(ratios)))


def _p_value(one: NDArray[np.float64], other: NDArray[np.float64], draws: int) -> float:
    """The share of draws under the pooled shares that differ at least as much."""
    sizes = [round(one.sum()), round(other.sum())]
    if not all(sizes):
        return 1.0
    used = (one + other) > 0
    one, other = one[used], other[used]
    shares = (one + other) / (one + other).sum()
    chance = np.random.default_rng(0)
    drawn = [chance.multinomial(size, shares, size=draws).astype(float) for size in sizes]
    beyond = np.count_nonzero(_g(*drawn) >= float(_g(one, other)))
    return float((1 + beyond) / (1 + draws))
