"""Networks of many structures with the names of their blocks, and what finds these."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from designer.probing.calling import Inputs, tensors_of
from designer.probing.probes import block_candidates, probing
from tests.support.networks import convolutional, perceptrons, sequences, staged
from tests.support.networks.parts import IMAGES, SEQUENCES, TOKENS, VECTORS

Make = Callable[[], nn.Module]

STAGES = ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0"]

ADJACENT = torch.ones(7, 5, 5).tril()

MASK = 1 - sequences.padding().long()


def numbered(name: str, count: int = 3) -> list[str]:
    """Return the names of the parts of a sequence."""
    return [f"{name}.{i}" for i in range(count)]


NETWORKS: dict[str, tuple[Make, Inputs, list[str]]] = {
    # rows of layers are cut behind each one's activation
    "row": (perceptrons.row, VECTORS, ["1", "3"]),
    "row in place": (lambda: perceptrons.row(inplace=True), VECTORS, ["1", "3"]),
    "normed row": (perceptrons.normed_row, VECTORS.view(7, 1, 2, 3), ["3", "7"]),
    "functional": (perceptrons.functional, VECTORS, ["a", "b"]),
    "one activation": (perceptrons.one_activation, VECTORS, ["a", "b"]),
    "tied weights": (perceptrons.tied_weights, VECTORS, ["1", "3"]),
    "vgg": (convolutional.vgg, IMAGES, ["features.2", "features.6", "classifier.1"]),
    "lenet": (convolutional.lenet, IMAGES, ["conv1", "conv2", "fc1"]),
    "lstm": (lambda: sequences.recurrent(nn.LSTM), SEQUENCES, ["first", "second"]),
    "gru": (lambda: sequences.recurrent(nn.GRU), SEQUENCES, ["first", "second"]),
    "recurrent stack": (sequences.recurrent_stack, SEQUENCES, numbered("layers")),
    "last state": (
        lambda: sequences.recurrent_stack(nn.LSTM, last_state=True),
        SEQUENCES,
        numbered("layers"),
    ),
    "recurrent encoder": (
        sequences.recurrent_encoder,
        TOKENS,
        ["encoder.first", "encoder.second", "encoder.third"],
    ),
    # layers side by side have one place behind them all, called after the last
    "parallel": (perceptrons.parallel, VECTORS, ["b"]),
    # blocks
    "listed": (perceptrons.listed, VECTORS, numbered("layers")),
    "thrice": (perceptrons.thrice, VECTORS, ["block#1", "block#2", "block#3"]),
    "tied modules": (perceptrons.tied_modules, VECTORS, ["first", "second"]),
    "twice": (perceptrons.twice, VECTORS, ["0", "1", "2"]),
    "two inputs": (perceptrons.two_inputs, (VECTORS, VECTORS + 1), ["first", "second"]),
    "named inputs": (perceptrons.two_inputs, {"b": VECTORS + 1, "a": VECTORS}, ["first", "second"]),
    "listed inputs": (perceptrons.listed_inputs, (VECTORS, VECTORS + 1), numbered("blocks")),
    "listed named inputs": (
        perceptrons.listed_inputs,
        {"b": VECTORS + 1, "a": VECTORS},
        numbered("blocks"),
    ),
    "open activations": (perceptrons.open_activations, VECTORS, ["one", "two"]),
    "overwriting": (perceptrons.overwriting, VECTORS, numbered("blocks")),
    "counting": (perceptrons.counting, VECTORS, numbered("blocks")),
    "forking": (perceptrons.forking, VECTORS, numbered("blocks")),
    "dropping": (perceptrons.dropping, VECTORS, numbered("blocks")),
    # blocks that are flowed past
    "open sums": (perceptrons.open_sums, VECTORS, numbered("blocks")),
    "dropping sums": (lambda: perceptrons.dropping(adds=True), VECTORS, numbered("blocks")),
    "branches": (convolutional.branches, IMAGES, numbered("blocks")),
    "residual": (convolutional.residual_net, IMAGES, STAGES),
    "preactivated": (
        lambda: convolutional.residual_net(convolutional.preactivated),
        IMAGES,
        STAGES,
    ),
    "wrapped": (lambda: nn.DataParallel(convolutional.residual_net()), IMAGES, STAGES),
    "inverted": (convolutional.inverted_net, IMAGES, numbered("features", 4)),
    "dense": (convolutional.dense_net, IMAGES, ["dense1", "transition", "dense2"]),
    "concatenating": (convolutional.concatenating, IMAGES, numbered("layers")),
    "gathering": (perceptrons.gathering, VECTORS, numbered("units")),
    "inception": (convolutional.inception_net, IMAGES, ["stem", "a", "b"]),
    # what flows past the middle comes back on the way up
    "u-shaped": (perceptrons.u_shaped, VECTORS, ["down", "middle", "up"]),
    "u-net": (convolutional.u_net, IMAGES, ["down1", "up2", "up1"]),
    # transformers
    "encoder": (sequences.encoder, SEQUENCES, numbered("layers")),
    "norm first": (lambda: sequences.encoder(norm_first=True), SEQUENCES, numbered("layers")),
    "padded encoder": (sequences.padded_encoder, SEQUENCES, numbered("encoder.layers")),
    "classifying": (sequences.classifying_encoder, SEQUENCES, numbered("model.encoder.layers")),
    "sequence first": (
        lambda: sequences.classifying_encoder(batch_first=False),
        SEQUENCES,
        numbered("model.encoder.layers"),
    ),
    # everything passes through parts of a block, which is one block all the same
    "post-norm": (
        lambda: sequences.of_layers(sequences.post_norm),
        TOKENS,
        numbered("encoder.layers"),
    ),
    "sub-layers that add": (
        lambda: sequences.of_layers(sequences.adding_sub_layers),
        TOKENS,
        numbered("encoder.layers"),
    ),
    "convolutions for positions": (
        lambda: sequences.of_layers(sequences.encoding_positions),
        TOKENS,
        numbered("encoder.layers"),
    ),
    "aggregating": (
        convolutional.aggregating_net,
        IMAGES,
        ["stages.0.blocks.0", "stages.1.blocks.0", "stages.1.blocks.1"],
    ),
    "numbered layers": (convolutional.numbered_layers_net, IMAGES, numbered("blocks")),
    "numbered blocks": (
        convolutional.numbered_blocks_net,
        IMAGES,
        [f"stage{i}.block{j}" for i in (1, 2) for j in (1, 2)],
    ),
    "mixer": (sequences.mixer, SEQUENCES, numbered("blocks", 2)),
    "tokens": (sequences.language_model, TOKENS, numbered("blocks")),
    "tokens through a part": (sequences.embedding_part, TOKENS, numbered("layers")),
    "rounded to tokens": (sequences.rounding, TOKENS.float(), numbered("layers")),
    # what every layer receives flows past none
    "relative positions": (sequences.biased, TOKENS, numbered("layers")),
    "graph": (sequences.graph_net, (SEQUENCES, ADJACENT), numbered("layers")),
    "encoder and decoder": (
        sequences.encoder_decoder,
        (TOKENS, TOKENS.flip(1)),
        [*numbered("encoder", 2), *numbered("decoder", 2)],
    ),
    "one query for a stage": (
        staged.querying,
        SEQUENCES,
        [f"stages.{i}.blocks.{j}" for i in range(2) for j in range(2)],
    ),
    # what begins with a block is more than a block
    "downsampling": (
        staged.downsampling,
        IMAGES,
        [
            f"stages.{i}.{part}"
            for i in range(2)
            for part in ("down.before", "down.smaller", "blocks.0", "blocks.1")
        ],
    ),
    "attended downsampling": (
        staged.attended_downsampling,
        IMAGES,
        [*numbered("first"), *numbered("blocks", 2)],
    ),
    # rows are samples in some of the tensors only
    "parts of patches": (staged.parts_of_patches, IMAGES, numbered("blocks")),
    "handed through": (
        staged.two_scales,
        SEQUENCES,
        [*numbered("fine", 2), *numbered("joint", 2)],
    ),
    # stages of blocks that some channels flow past
    "crossing": (staged.crossing, IMAGES, numbered("stages", 2)),
    # several tensors, through which everything passes together
    "passing tuples": (
        sequences.passing_tuples,
        SEQUENCES,
        [*numbered("stages.0.blocks", 2), *numbered("stages.1.blocks", 2)],
    ),
    "two streams": (sequences.two_streams, SEQUENCES, numbered("blocks")),
    "tied head": (lambda: sequences.language_model(tied=True), TOKENS, numbered("blocks")),
    "frozen embedding": (lambda: sequences.language_model(frozen=True), TOKENS, numbered("blocks")),
    "frozen": (
        lambda: sequences.language_model(tied=True).requires_grad_(requires_grad=False),
        TOKENS,
        numbered("blocks"),
    ),
    "bert": (
        sequences.bert,
        {"input_ids": TOKENS, "attention_mask": MASK},
        numbered("encoder.layers", 2),
    ),
    "bert, floating mask": (
        sequences.bert,
        {"input_ids": TOKENS, "attention_mask": MASK.float()},
        numbered("encoder.layers", 2),
    ),
}
"""By name: how to make a network, a batch of 7, and its blocks in running order."""


def blocks_of(model: nn.Module, inputs: Inputs) -> list[str]:
    """Return the names of the blocks, on which the probe and the candidates must agree."""
    with probing(model) as probe:
        features = probe.features(inputs)
    names = list(probe.names)
    assert len(features) == len(names) + 1
    for rows in features:
        assert len(rows) == len(tensors_of(inputs)[0])
        assert rows.isfinite().all()
    chosen = [part.name for part in block_candidates(model, inputs) if part.chosen]
    assert len(chosen) == len(names)
    return names
