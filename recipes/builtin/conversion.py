"""From a BERT to an ALBERT that computes the same, and from that model to a smaller one with as many layers.

Knows nothing of training. Shapes: V vocabulary, E embedding size, H hidden size, T tokens, I neurons of a layer (its
intermediate size), K neurons that are kept.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import torch
from torch import nn
from transformers import AlbertConfig, AlbertForSequenceClassification, BertConfig, BertModel

from albert_infer.schema import NliLabel

# ALBERT's names for the parts of a BERT layer; the operations are the same.
ALBERT_PARTS = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.dense": "attention.output.dense",
    "attention.LayerNorm": "attention.output.LayerNorm",
    "ffn": "intermediate.dense",
    "ffn_output": "output.dense",
    "full_layer_layer_norm": "output.LayerNorm",
}

# Added to the diagonal of the fit of the kept neurons, as a share of its mean, because some neurons are nearly equal.
RIDGE: Final = 1e-3

EMBEDDING_TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")


def albert_layer(model: AlbertForSequenceClassification, group: int) -> nn.Module:
    """The one layer of a layer group, for models with `inner_group_num` 1."""
    return model.get_submodule(f"albert.encoder.albert_layer_groups.{group}.albert_layers.0")


def albert_config(
    shape: BertConfig | AlbertConfig, embedding_size: int, intermediate_size: int, dropout: float
) -> AlbertConfig:
    """The configuration of an NLI classifier with the layers of `shape`, each a group of its own."""
    return AlbertConfig(
        vocab_size=shape.vocab_size,
        embedding_size=embedding_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_hidden_groups=shape.num_hidden_layers,
        inner_group_num=1,
        num_attention_heads=shape.num_attention_heads,
        intermediate_size=intermediate_size,
        hidden_act=shape.hidden_act,
        max_position_embeddings=shape.max_position_embeddings,
        type_vocab_size=shape.type_vocab_size,
        layer_norm_eps=shape.layer_norm_eps,
        initializer_range=shape.initializer_range,
        hidden_dropout_prob=dropout,
        # Dropping attention weights takes torch off its fast attention on CPUs, and a few epochs hardly overfit.
        attention_probs_dropout_prob=0.0,
        classifier_dropout_prob=dropout,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        id2label={code: str(label) for code, label in enumerate(NliLabel)},
        label2id={str(label): code for code, label in enumerate(NliLabel)},
    )


@torch.no_grad()
def albert_from_bert(bert: BertModel, dropout: float) -> AlbertForSequenceClassification:
    """An ALBERT classifier with the hidden states of `bert`: one group per layer and an identity mapping.

    The classifier on top is new: its weights come from torch's global generator.
    """
    config = albert_config(bert.config, bert.config.hidden_size, bert.config.intermediate_size, dropout)
    model = AlbertForSequenceClassification(config)
    model.albert.embeddings.load_state_dict(bert.embeddings.state_dict())
    model.albert.pooler.load_state_dict(bert.get_submodule("pooler.dense").state_dict())
    mapping = model.albert.encoder.embedding_hidden_mapping_in
    mapping.weight.copy_(torch.eye(config.hidden_size))
    mapping.bias.zero_()
    for index, bert_layer in enumerate(bert.encoder.layer):
        for albert_name, bert_name in ALBERT_PARTS.items():
            source = bert_layer.get_submodule(bert_name).state_dict()
            albert_layer(model, index).get_submodule(albert_name).load_state_dict(source)
    return model


@torch.no_grad()
def student_from_teacher(
    teacher: AlbertForSequenceClassification,
    embedding_size: int,
    intermediate_size: int,
    batches: Iterable[Mapping[str, torch.Tensor]],
) -> AlbertForSequenceClassification:
    """A smaller ALBERT that starts near `teacher`, without dropout. `batches` are the model's inputs for some pairs.

    Its embeddings are the teacher's in the `embedding_size` directions that keep most of them. Each layer keeps the
    `intermediate_size` neurons that add most to its output. The mapping after the embeddings, and the weights behind
    the kept neurons, are fitted on `batches`. The rest is copied.
    """
    config = albert_config(teacher.config, embedding_size, intermediate_size, dropout=0.0)
    student = AlbertForSequenceClassification(config)
    batches = list(batches)
    tokens_T = torch.cat([batch["input_ids"][batch["attention_mask"].bool()] for batch in batches])
    _project_embeddings(student, teacher, tokens_T)
    _fit_mapping(student, teacher, tokens_T)
    _keep_neurons(student, teacher, batches)
    student.albert.pooler.load_state_dict(teacher.albert.pooler.state_dict())
    student.classifier.load_state_dict(teacher.classifier.state_dict())
    return student


def embedding_outputs(model: AlbertForSequenceClassification, tokens_T: torch.Tensor) -> torch.Tensor:
    """What the first layer receives for `tokens_T`, of shape T, H, at positions 0, 1, 2 … of a repeated short text."""
    # 32 positions, because that is where the tokens of sentence pairs are.
    positions_T = torch.arange(len(tokens_T)) % min(32, model.config.max_position_embeddings)
    embedded_TE = model.albert.embeddings(input_ids=tokens_T[None], position_ids=positions_T[None])[0]
    mapped_TH: torch.Tensor = model.albert.encoder.embedding_hidden_mapping_in(embedded_TE)
    return mapped_TH


def _project_embeddings(
    student: AlbertForSequenceClassification, teacher: AlbertForSequenceClassification, tokens_T: torch.Tensor
) -> None:
    words_VH = teacher.albert.embeddings.word_embeddings.weight
    # Each word counts as often as it occurs, and once more, so that words not seen keep their place.
    counts_V = torch.bincount(tokens_T, minlength=len(words_VH)) + 1.0
    # The right singular vectors of the weighted table are the eigenvectors of its small square, strongest last.
    directions_HH = torch.linalg.eigh(words_VH.T @ (words_VH * counts_V[:, None])).eigenvectors
    basis_HE = directions_HH.flip(1)[:, : student.config.embedding_size]
    for name in EMBEDDING_TABLES:
        source = teacher.get_parameter(f"albert.embeddings.{name}.weight")
        student.get_parameter(f"albert.embeddings.{name}.weight").copy_(source @ basis_HE)


def _fit_mapping(
    student: AlbertForSequenceClassification, teacher: AlbertForSequenceClassification, tokens_T: torch.Tensor
) -> None:
    mapping = student.albert.encoder.embedding_hidden_mapping_in
    mapping.weight.copy_(torch.eye(*mapping.weight.shape))
    mapping.bias.zero_()
    # Under this mapping the first E outputs are the embeddings themselves, that is the regressors; the rest are 0.
    embedded_TE = embedding_outputs(student, tokens_T)[:, : student.config.embedding_size]
    with_bias_TF = torch.cat([embedded_TE, torch.ones(len(tokens_T), 1)], dim=1).double()
    # Normalised embeddings sum to 0, so one direction is empty but for rounding: left in, it takes wild weights.
    inverse_FF = torch.linalg.pinv(with_bias_TF.T @ with_bias_TF, rtol=1e-9, hermitian=True)
    solution_FH = inverse_FF @ (with_bias_TF.T @ embedding_outputs(teacher, tokens_T).double())
    mapping.weight.copy_(solution_FH[:-1].T)
    mapping.bias.copy_(solution_FH[-1])


def _keep_neurons(
    student: AlbertForSequenceClassification,
    teacher: AlbertForSequenceClassification,
    batches: Iterable[Mapping[str, torch.Tensor]],
) -> None:
    kept = student.config.intermediate_size
    for index, products_II in enumerate(_neuron_products(teacher, batches)):
        weights = dict(albert_layer(teacher, index).state_dict())
        out_HI = weights["ffn_output.weight"].double()
        added_I = products_II.diagonal() * out_HI.square().sum(dim=0)
        best_K = added_I.argsort(descending=True)[:kept].sort().values
        among_KK = products_II[best_K][:, best_K]
        ridge = RIDGE * among_KK.diagonal().mean() * torch.eye(kept)
        weights["ffn_output.weight"] = torch.linalg.solve(among_KK + ridge, products_II[best_K] @ out_HI.T).T.float()
        weights["ffn.weight"], weights["ffn.bias"] = weights["ffn.weight"][best_K], weights["ffn.bias"][best_K]
        albert_layer(student, index).load_state_dict(weights)


def _neuron_products(
    model: AlbertForSequenceClassification, batches: Iterable[Mapping[str, torch.Tensor]]
) -> list[torch.Tensor]:
    """Of each layer, the products of the outputs of two neurons, summed over the tokens of `batches`: of shape I, I."""
    size = model.config.intermediate_size
    sums = [torch.zeros(size, size, dtype=torch.float64) for _ in range(model.config.num_hidden_layers)]

    def add(index: int, mask: torch.Tensor, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        neurons_TI = inputs[0][mask].double()
        sums[index] += neurons_TI.T @ neurons_TI

    for batch in batches:
        mask = batch["attention_mask"].bool()
        hooks = [
            albert_layer(model, index).get_submodule("ffn_output").register_forward_pre_hook(partial(add, index, mask))
            for index in range(len(sums))
        ]
        model(**batch)
        for hook in hooks:
            hook.remove()
    return sums
