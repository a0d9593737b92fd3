"""Sentences of about the same meaning, by the sentence encoder that the student starts from."""
# ruff: noqa: N803, N806 - arrays end in their shape. N texts, M candidates, H hidden size, K neighbours.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import BertModel

from albert_infer.learning.training.batches import batches_by_length

ENCODED_TOGETHER: Final = 128
COMPARED_TOGETHER: Final = 1024
MAX_TOKENS: Final = 64


@torch.inference_mode()
def sentence_vectors(source: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of length 1, of shape N, H: the means of the last hidden states of the encoder in `source`."""
    model = BertModel.from_pretrained(source, add_pooling_layer=False, dtype=torch.float32)
    model.train(mode=False)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    vectors_NH = np.empty((len(texts), model.config.hidden_size), np.float32)
    for positions in batches_by_length(np.asarray([len(tokens) for tokens in ids]), ENCODED_TOGETHER):
        longest = max(len(ids[at]) for at in positions)
        ids_BL = torch.tensor([ids[at] + [0] * (longest - len(ids[at])) for at in positions])
        mask_BL = torch.tensor([[1] * len(ids[at]) + [0] * (longest - len(ids[at])) for at in positions])
        hidden_BLH = model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
        summed_BH = (hidden_BLH * mask_BL[:, :, None]).sum(dim=1)
        vectors_NH[positions] = torch.nn.functional.normalize(summed_BH, dim=1).numpy()
    return vectors_NH


def nearest(queries_NH: NDArray[np.float32], candidates_MH: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The positions of the `count` candidates nearest to each query, nearest first: shape N, K."""
    candidates = torch.from_numpy(candidates_MH)
    found = [
        (torch.from_numpy(queries_NH[start : start + COMPARED_TOGETHER]) @ candidates.T).topk(count, dim=1).indices
        for start in range(0, len(queries_NH), COMPARED_TOGETHER)
    ]
    return torch.cat(found).numpy()
