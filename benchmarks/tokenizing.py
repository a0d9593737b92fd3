"""`python -m benchmarks.tokenizing`: pairs tokenized a second on one core, ours and with what others use.

One unit of pairs, validated beforehand, with two tokenizers: the built-in checkpoint's WordPiece, and a SentencePiece
Unigram as ALBERT's, trained on these pairs. Every row gives the same tokens. Where the source has fewer pairs than a
unit, words repeat more often than in as many real pairs; `--data` may be a folder. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import sentencepiece
from rich.console import Console
from rich.table import Table
from transformers import AlbertTokenizer, AutoTokenizer

from albert_infer.prepare.tokenization import PairTokenizer, append_tokens
from albert_infer.prepare.validation import mark_rejected
from albert_infer.schema import INPUT_IDS, PREMISE_TOKENS
from benchmarks import checkpoint, machine, pairs

UNIT_ROWS: Final = 16_384
TARGET: Final = 20_000
OURS: Final = "append_tokens, a unit"
# What `datasets.map(batched=True)` hands to a tokenizer.
BATCH_PAIRS: Final = 1000
MAX_LENGTH: Final = 512
VOCABULARY: Final = 30_000
ONE_THREAD: Final = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}

# Token ids and segment ids of each pair.
Tokens = list[tuple[list[int], list[int]]]


@dataclass(frozen=True)
class Way:
    """One way to tokenize the same pairs: `run` is timed, `tokens` reads what it gave."""

    name: str
    run: Callable[[], Any]
    tokens: Callable[[Any], Tokens]


@dataclass
class Row:
    """The rounds of one way with one tokenizer."""

    tokenizer: str
    way: str
    pairs_per_second: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.pairs_per_second)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all rows in turn, print them and the target, and write them as JSON where asked."""
    given = _parser().parse_args(argv)
    header = machine.this_machine()
    found = pairs.read_pairs(given.data, given.pairs)
    with tempfile.TemporaryDirectory(prefix="albert-infer-tokenizing-") as scratch, one_core() as core:
        tokenizers = {"WordPiece": checkpoint.BUILTIN_CHECKPOINT, "Unigram": trained_unigram(Path(scratch), found)}
        rows = [row for name, folder in tokenizers.items() for row in measured(name, ways(folder, found), given.rounds)]
    _show(header, core, found.num_rows, rows)
    if given.json:
        told = [{**asdict(row), "median": row.median} for row in rows]
        work = {"pairs": found.num_rows, "core": core, "target": TARGET, "verdict": _verdict(rows)}
        given.json.write_text(json.dumps({"machine": asdict(header), **work, "rows": told}, indent=1) + "\n")


@contextmanager
def one_core() -> Iterator[int]:
    """Keep this thread, and what it starts, to one core, and the tokenizers to this thread; gives the core."""
    before, environment = os.sched_getaffinity(0), dict(os.environ)
    core = max(before)
    os.sched_setaffinity(0, {core})
    os.environ.update(ONE_THREAD)
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)
        os.environ.clear()
        os.environ.update(environment)


def trained_unigram(folder: Path, found: pa.Table) -> Path:
    """`folder` with an ALBERT tokenizer as transformers saves it, of at most VOCABULARY pieces of the texts."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sorted({text for pair in pairs.text_pairs(found) for text in pair})),
        model_prefix=str(folder / "spiece"),
        vocab_size=VOCABULARY,
        # Few texts have fewer pieces.
        hard_vocab_limit=False,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    AlbertTokenizer.from_pretrained(folder, local_files_only=True).save_pretrained(folder)
    return folder


def ways(folder: Path, found: pa.Table) -> list[Way]:
    """Ours and the peers', each with the tokenizer in `folder`; the peers have the texts as Python strings before."""
    texts = pairs.text_pairs(found)
    theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    raw = theirs.backend_tokenizer
    ours = PairTokenizer(
        (folder / "tokenizer.json").read_text(),
        cls_token=theirs.cls_token,
        sep_token=theirs.sep_token,
        max_length=MAX_LENGTH,
    )
    judged = mark_rejected(found)
    batches = [
        tuple(zip(*texts[first : first + BATCH_PAIRS], strict=True)) for first in range(0, len(texts), BATCH_PAIRS)
    ]
    return [
        Way(OURS, lambda: append_tokens(judged, ours), _our_tokens),
        Way(
            f"transformers, batches of {BATCH_PAIRS:,}",
            lambda: [_called(theirs, *map(list, batch)) for batch in batches],
            lambda called: [
                row for batch in called for row in zip(batch["input_ids"], batch["token_type_ids"], strict=True)
            ],
        ),
        Way(
            "tokenizers.encode_batch, a unit",
            lambda: [(encoding.ids, encoding.type_ids) for encoding in raw.encode_batch(texts)],
            lambda rows: rows,
        ),
    ]


def measured(tokenizer: str, contenders: Sequence[Way], rounds: int) -> list[Row]:
    """Each way timed once a round, in turn, after one round that is not timed.

    Raises RuntimeError where one gives other tokens than the first.
    """
    given = [way.tokens(way.run()) for way in contenders]
    for way, tokens in zip(contenders, given, strict=True):
        if tokens != given[0]:
            raise RuntimeError(f"{way.name} gives other tokens than {contenders[0].name}: its speed would mean nothing")
    rows = [Row(tokenizer, way.name) for way in contenders]
    for _ in range(rounds):
        for row, way in zip(rows, contenders, strict=True):
            begun = time.perf_counter()
            way.run()
            row.pairs_per_second.append(len(given[0]) / (time.perf_counter() - begun))
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokenizing", description=__doc__)
    parser.add_argument("--data", type=Path, default=pairs.default_source(), help="Parquet file or folder of pairs")
    parser.add_argument("--pairs", type=int, default=UNIT_ROWS, help="pairs of the unit")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; medians are shown, and the best")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    return parser


def _called(tokenizer: Any, premises: list[str], hypotheses: list[str]) -> Any:
    how = {"truncation": "only_first", "max_length": MAX_LENGTH, "return_token_type_ids": True}
    return tokenizer(premises, hypotheses, return_attention_mask=False, **how)


def _our_tokens(prepared: pa.Table) -> Tokens:
    columns = (prepared[name].to_pylist() for name in (INPUT_IDS, PREMISE_TOKENS))
    return [(ids, [0] * first + [1] * (len(ids) - first)) for ids, first in zip(*columns, strict=True)]


def _verdict(rows: Sequence[Row]) -> str:
    return "met" if min(row.median for row in rows if row.way == OURS) >= TARGET else "missed"


def _show(header: machine.Machine, core: int, count: int, rows: Sequence[Row]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    versions = ", ".join(f"{name} {header.versions[name]}" for name in ("tokenizers", "transformers", "pyarrow"))
    settings = ", ".join(f"{name}={value}" for name, value in ONE_THREAD.items())
    console.print(f"{header.processor}, load {header.load}, {header.date}; {versions}")
    console.print(f"{count:,} pairs on one core (affinity to core {core}, {settings})")
    table = Table("tokenizer", "pairs/s a core", box=None, header_style="bold")
    for heading in ("median", "best"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row.tokenizer, row.way, f"{row.median:,.0f}", f"{max(row.pairs_per_second):,.0f}")
    console.print(table)
    console.print(f">= {TARGET:,} pairs/s a core: {_verdict(rows)}")


if __name__ == "__main__":
    main()
