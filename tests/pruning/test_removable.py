"""Which blocks of models of many structures can go, and why the others cannot."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from torch import Tensor, nn

from designer.errors import InvalidInputError
from designer.models.size import size_of_model
from designer.probing.calling import arguments, unwrap
from designer.pruning import removable
from designer.pruning.forward_passes import without
from designer.pruning.removable import names_left, removable_blocks
from tests.probing.test_block_outputs import disturbed, state_of
from tests.pruning.networks import (
    Make,
    auxiliary,
    giving,
    growing,
    mobile_net,
    plain_images,
    reasons_by_name,
    removables_by_name,
    reshaping,
    side_by_side,
    striding,
    tied_consumer,
    two_names,
    unlisted_streams,
    wholly_tied,
)
from tests.support.networks import convolutional, perceptrons, sequences
from tests.support.networks.parts import (
    IMAGES,
    SEQUENCES,
    TOKENS,
    VECTORS,
    chain,
    conv,
    dense,
    head,
    norm,
    seeded,
    wired,
)
from tests.support.networks.with_blocks import NETWORKS

ON, ALONE, LISTED = (
    "what it receives is handed on",
    "what flows past it goes on alone",
    "it is taken out of its list",
)


SHARED = "it runs {} times with the same weights, so removing it once frees nothing"


TIED = "all its weights are tied to other layers, so removing it frees nothing"


MANY = "it gives more than one tensor, and what replaces it could give only one"


def fitted(layer: str) -> str:
    return f"'{layer}' is fitted to what it receives"


def needed(takes: str, gives: str) -> str:
    return f"it takes (n, {takes}) and gives (n, {gives}), and what follows needs that shape"


REASONS: dict[str, tuple[Make, Any, dict[str, str]]] = {
    "a block that runs three times": (
        perceptrons.thrice,
        VECTORS,
        {f"block#{i}": SHARED.format(3) for i in (1, 2, 3)},
    ),
    "one that runs under two names": (
        perceptrons.tied_modules,
        VECTORS,
        {"first": SHARED.format(2), "second": SHARED.format(2)},
    ),
    "one that runs twice, and one between": (
        perceptrons.twice,
        VECTORS,
        {"0": SHARED.format(2), "1": ON, "2": SHARED.format(2)},
    ),
    "one that has two names": (
        two_names,
        VECTORS,
        {"first": ON, "second": "it stands in several places of the model", "third": ON},
    ),
    "weights that are tied": (
        wholly_tied,
        VECTORS,
        {"blocks.0": ON, "blocks.1": TIED, "blocks.2": TIED, "blocks.3": ON},
    ),
    "a tied layer behind the block": (
        tied_consumer,
        VECTORS,
        {
            "a": ON,
            "b": needed("6", "8"),
            "c": "it takes (n, 8) and gives (n, 6); 'head', fitted to it, would grow by 6 "
            "parameters, and only 6 would be freed",  # its bias
        },
    ),
    "several tensors": (
        lambda: giving(lambda x: (x, x.mean()), lambda output: output[0] * output[1]),
        VECTORS,
        {f"blocks.{i}": LISTED for i in range(3)},
    ),
    "several tensors, of which one is used": (
        lambda: giving(lambda x: (x, x.mean()), lambda output: output[0]),
        VECTORS,
        {f"blocks.{i}": ON for i in range(3)},
    ),
    "two streams in a sequence": (
        sequences.two_streams, SEQUENCES, {f"blocks.{i}": LISTED for i in range(3)},
    ),
    "two streams outside of any list": (
        unlisted_streams, SEQUENCES, {"first": MANY, "second": MANY, "third": MANY},
    ),
    "recurrent layers": (
        sequences.recurrent_stack, SEQUENCES, {f"layers.{i}": ON for i in range(3)},
    ),
    "recurrent layers, of which the last state counts": (
        lambda: sequences.recurrent_stack(last_state=True),
        SEQUENCES,
        {f"layers.{i}": LISTED for i in range(3)},
    ),
    "recurrent layers that give two states": (
        sequences.recurrent_encoder,
        TOKENS,
        {f"encoder.{name}": ON for name in ("first", "second", "third")},
    ),
    "a layer that adds channels": (
        perceptrons.gathering,
        VECTORS,
        {"units.0": needed("6", "4"), "units.1": needed("10", "4"), "units.2": fitted("head")},
    ),
    "dense": (
        convolutional.dense_net,
        IMAGES,
        {
            "dense1": needed("4, 8, 8", "10, 8, 8"),
            "transition": needed("10, 8, 8", "4, 4, 4"),
            "dense2": needed("4, 4, 4", "10, 4, 4"),
        },
    ),
    "concatenating": (
        convolutional.concatenating,
        IMAGES,
        {
            "layers.0": needed("4, 8, 8", "6, 8, 8"),
            "layers.1": needed("6, 8, 8", "8, 8, 8"),
            "layers.2": fitted("head"),
        },
    ),
    "inception": (
        convolutional.inception_net,
        IMAGES,
        {"stem": needed("3, 8, 8", "4, 8, 8"), "a": needed("4, 8, 8", "6, 8, 8"), "b": ON},
    ),
    "u-net": (
        convolutional.u_net,
        IMAGES,
        {
            "down1": needed("3, 8, 8", "4, 8, 8"),
            "up2": "it takes (n, 8, 4, 4) and gives (n, 4, 4, 4); without it the model would need "
            "117,528 operations instead of 112,920",
            "up1": fitted("head"),
        },
    ),
    "queries, keys and values": (
        side_by_side,
        SEQUENCES,
        {"first": ON, "second": needed("5, 8", "5, 6")},
    ),
    "of the same width": (lambda: side_by_side(8), SEQUENCES, {"first": ON, "second": ON}),
    "another head": (auxiliary, VECTORS, {f"blocks.{i}": ON for i in range(3)}),
    "another head of another width": (
        lambda: auxiliary(8),
        VECTORS,
        {"blocks.0": ON, "blocks.1": needed("6", "8"), "blocks.2": fitted("head")},
    ),
    "flattening": (
        lambda: reshaping(lambda m, x: m.fc(x.flatten(1)), 6),
        IMAGES,
        {"one": fitted("two.0"), "two": fitted("fc.0"), "fc": fitted("head")},
    ),
    "a view with a fixed width": (
        lambda: reshaping(lambda m, x: m.fc(x.view(-1, 24)), 6),
        IMAGES[:6],
        {
            "one": fitted("two.0"),
            "two": "it takes (n, 4, 8, 8) and gives (n, 6, 8, 8); 'fc.0', the next layer, would "
            "receive (4, 24) instead of (n, 24)",
            "fc": fitted("head"),
        },
    ),
    "separable": (
        mobile_net,
        IMAGES,
        {
            "blocks.0": needed("3, 8, 8", "6, 8, 8"),
            "blocks.1": ON,
            "blocks.2": ON,
            "blocks.3": fitted("head"),
        },
    ),
    "a smaller map": (
        striding,
        IMAGES,
        {
            "blocks.0": needed("3, 8, 8", "4, 8, 8"),
            "blocks.1": "it takes (n, 4, 8, 8) and gives (n, 4, 4, 4); without it the model would "
            "need 87,576 operations instead of 42,008",
            "blocks.2": ON,
            "blocks.3": ON,
        },
    ),
    "a layer that would grow": (
        growing,
        VECTORS,
        {
            "blocks.0": fitted("blocks.1.0"),
            "blocks.1": "it takes (n, 12) and gives (n, 2); 'blocks.2.0', fitted to it, would grow "
            "by 400 parameters, and only 26 would be freed",
            "blocks.2": fitted("blocks.3.0"),
            "blocks.3": fitted("head"),
        },
    ),
    "a transformer encoder": (
        sequences.padded_encoder,
        SEQUENCES,
        {f"encoder.layers.{i}": LISTED for i in range(3)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REASONS)
def test_why_and_how(name: str) -> None:
    make, inputs, expected = REASONS[name]
    assert reasons_by_name(make, inputs) == expected


def test_how_far_a_layer_may_be_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removable, "FIT_WIDTH", 15)
    reasons = reasons_by_name(lambda: reshaping(lambda m, x: m.fc(x.flatten(1)), 6), IMAGES)
    assert reasons["two"] == (
        "it takes (n, 4, 8, 8) and gives (n, 6, 8, 8); 'fc.0', the next layer, would have to be "
        "fitted to 16 features, and the most are 15"
    )


def test_what_the_model_raises_without_a_block() -> None:
    def wiring(m: Any, x: Tensor) -> Tensor:
        logits: Tensor = m.head(chain(m.blocks, x) * m.blocks[1][0].weight.mean())
        return logits

    make = lambda: wired(  # noqa: E731
        "Looking", wiring, blocks=nn.Sequential(*[dense() for _ in range(3)]), head=head()
    )
    reasons = reasons_by_name(make, VECTORS)
    assert reasons["blocks.1"].startswith("without it the model raises TypeError (")
    assert reasons["blocks.0"] == reasons["blocks.2"] == ON


@pytest.mark.parametrize("inputs", [VECTORS, (VECTORS, VECTORS), {"a": VECTORS, "b": VECTORS}])
def test_named_blocks_and_their_names_afterwards(inputs: Any) -> None:
    make = perceptrons.row if isinstance(inputs, Tensor) else perceptrons.two_inputs
    names = ["0", "2"] if isinstance(inputs, Tensor) else ["first", "second"]
    removables = list(removables_by_name(make, inputs, names).values())
    assert [block.name for block in removables] == names
    assert all(block.can_go for block in removables)
    assert names_left(removables, names[:1], names) == names[1:]
    assert names_left(removables, names[:1], None) is None


def test_a_named_part_without_weights_frees_nothing() -> None:
    assert reasons_by_name(perceptrons.row, VECTORS, ["1"]) == {
        "1": "it has no weights, so removing it frees nothing"
    }
    with pytest.raises(InvalidInputError, match=r"got 'nowhere'"):
        removables_by_name(perceptrons.row, VECTORS, ["nowhere"])


def test_a_named_branch_is_left_out_of_its_sum() -> None:
    removables = removables_by_name(perceptrons.open_sums, VECTORS, ["blocks.0", "blocks.2"])
    assert {block.reason for block in removables.values()} == {ALONE}
    inner = removables_by_name(convolutional.residual_net, IMAGES, ["layer1.0.bn2"])
    assert inner["layer1.0.bn2"].reason == ALONE


@pytest.mark.parametrize(
    ("form", "tensor_of", "kind"),
    [
        (lambda x: (x, None), lambda output: output[0], "tuple"),
        (lambda x: [None, x], lambda output: output[1], "list"),
        (lambda x: {"aux": None, "out": x}, lambda output: output["out"], "dict"),
    ],
)
def test_a_block_that_gives_a_tensor_in_something(form: Any, tensor_of: Any, kind: str) -> None:
    removables = removables_by_name(lambda: giving(form, tensor_of), VECTORS)
    assert {block.reason for block in removables.values()} == {ON}
    assert {block.removals[0].form.kind for block in removables.values()} == {kind}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_block_that_can_go_saves_cost_and_testing_leaves_the_network_as_it_was(name: str) -> None:
    make, inputs, names = NETWORKS[name]
    model = unwrap(seeded(make))
    if not isinstance(model, nn.Sequential):  # in which nothing can be disturbed
        model = disturbed(model)
    model.eval()
    before, copied, size = state_of(model), copy.deepcopy(inputs), size_of_model(model, inputs)
    removables = removable_blocks(model, inputs)
    assert [block.name for block in removables] == names
    assert all(block.reason for block in removables)
    for block in removables:
        if block.can_go and not block.refit:
            with without(model, block.removals):
                after = size_of_model(model, inputs)
            assert after.parameters < size.parameters
            assert after.flops < size.flops
    if name != "counting":  # which counts whoever runs it
        assert state_of(model) == before
    for now, was in zip(arguments(inputs), arguments(copied), strict=True):
        assert repr(now) == repr(was)


def test_buffers_that_count_stay_as_they_were() -> None:
    model = seeded(perceptrons.counting).eval()
    before = state_of(model)
    removable_blocks(model, VECTORS)
    assert state_of(model) == before


def test_a_layer_that_is_called_by_name_or_is_looked_into_late() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([dense() for _ in range(4)])
            self.head = head()

        def forward(self, x: Tensor) -> Tensor:
            x = chain(self.layers, x) * len(list(self.layers[-1]))  # type: ignore[call-overload]
            logits: Tensor = self.head(input=x)
            return logits

    removables = removables_by_name(Last, VECTORS)
    assert [block.reason for block in removables.values()] == [LISTED] * 4
    assert all(block.consumers[-1] == "head" for block in removables.values())


def test_weights_that_are_made_anew_each_time_are_not_fitted() -> None:
    from torch.nn.utils import parametrizations
    from torch.nn.utils.parametrize import is_parametrized

    def make() -> nn.Module:
        model = perceptrons.listed()
        parametrizations.weight_norm(model.get_submodule("layers.1.0"))
        return model

    model: Any = seeded(make)
    assert is_parametrized(model.layers[1][0])
    assert removables_by_name(make, VECTORS)["layers.0"].consumers == ("layers.2.0", "head")


def test_a_block_says_if_no_layer_behind_it_can_be_fitted() -> None:
    from torch.nn.utils import parametrizations

    def make() -> nn.Module:
        model = perceptrons.listed()
        for layer in list(model.modules()):
            if isinstance(layer, nn.Linear):
                parametrizations.weight_norm(layer)
        return model

    reasons = {block.reason for block in removables_by_name(make, VECTORS).values()}
    assert f"{ON}, and no layer behind it can be fitted to that" in reasons


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions_in_groups_are_not_fitted(groups: int) -> None:
    def make() -> nn.Module:
        grouped = nn.Conv2d(4, 4, 3, padding=1, groups=groups)
        return plain_images(
            nn.Sequential(conv(3), nn.ReLU()),
            nn.Sequential(conv(), norm(), nn.ReLU()),
            nn.Sequential(grouped, nn.ReLU(), conv(), nn.ReLU()),
        )

    consumers = removables_by_name(make, IMAGES)["blocks.1"].consumers
    assert consumers == ("blocks.2.0", "blocks.2.2", "head")[groups > 1 :]
