"""Parts that are removed leave a stand-in or nothing, and layers take other widths."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from designer.errors import ModelError
from designer.models.surgery import (
    Form,
    PassThrough,
    Removal,
    Way,
    form_of,
    name_after,
    places_of,
    remove,
    resize,
)
from designer.probing.calling import submodules
from tests.support.networks import parts, perceptrons
from tests.support.networks.parts import VECTORS, chain, dense, head, linear, seeded, wired

X = VECTORS

Pair = namedtuple("Pair", "x aux")


def listed(count: int = 3) -> Any:
    """Build a network of a stem and blocks in a list."""
    model = wired(
        "Listed",
        lambda m, x: m.head(chain(m.blocks, m.stem(x))),
        stem=dense(),
        blocks=nn.ModuleList([dense() for _ in range(count)]),
        head=head(),
    )
    return model.eval()


# --- forms ---


@pytest.mark.parametrize(
    "output",
    [X, (X,), (X, None), (None, X), [None, X, None], {"aux": None, "out": X}, {"logits": X}],
    ids=["tensor", "tuple", "first", "second", "list", "dict", "logits"],
)
def test_a_stand_in_gives_in_the_form_of_what_it_replaces(output: object) -> None:
    form = form_of(output)
    assert form is not None
    replaced = PassThrough(Way.PASS, form)(X)
    assert type(replaced) is type(output)
    assert repr(replaced) == repr(output)


@pytest.mark.parametrize(
    "output",
    [(X, X), {"a": X, "b": X}, (X, 0.5), (), (None,), (3,), "text", None, Pair(X, None), {X}],
    ids=["two", "two in a dict", "number", "empty", "none", "no tensor", "text", "nothing", "named",
         "set"],
)  # fmt: skip
def test_what_holds_more_than_a_tensor_has_no_form(output: object) -> None:
    assert form_of(output) is None


@pytest.mark.parametrize("way", [Way.PASS, Way.ZERO])
def test_a_stand_in_hands_on_the_first_floating_tensor_and_has_no_parameters(way: Way) -> None:
    stand_in = PassThrough(way, Form())
    wanted = X if way is Way.PASS else torch.zeros(7, 6)
    for output in (stand_in(X), stand_in(x=X), stand_in(parts.TOKENS, [X, X + 1], mask=None)):
        assert torch.equal(output, wanted)
    assert list(stand_in.parameters()) == list(stand_in.buffers()) == []
    assert str(way) in repr(stand_in)


def test_a_stand_in_needs_a_tensor() -> None:
    with pytest.raises(ModelError, match="receive a floating tensor, got none"):
        PassThrough(Way.PASS, Form())(parts.TOKENS)


# --- removal ---


def test_a_stand_in_leaves_the_names_of_all_others() -> None:
    model: Any = seeded(listed)
    before = submodules(model)
    wanted = model.head(model.blocks[2](model.blocks[0](model.stem(X))))
    remove(model, [Removal("blocks.1", Way.PASS)])
    after = submodules(model)
    assert after.keys() == {name for name in before if not name.startswith("blocks.1.")}
    assert all(after[name] is before[name] for name in after if name != "blocks.1")
    assert torch.equal(model(X), wanted)


def test_several_are_deleted_from_their_list() -> None:
    model: Any = seeded(lambda: listed(4))
    kept = [model.blocks[1], model.blocks[3]]
    remove(model, [Removal("blocks.0", Way.DELETE), Removal("blocks.2", Way.DELETE)])
    assert list(model.blocks) == kept
    assert torch.equal(model(X), model.head(chain(kept, model.stem(X))))


def test_a_part_is_deleted_from_a_sequence() -> None:
    model: Any = seeded(perceptrons.row)
    wanted = model[4](model[1](model[0](X)))
    remove(model, [Removal("2", Way.DELETE), Removal("3", Way.PASS)])
    assert [name for name, _ in model.named_children()] == ["0", "1", "2", "3"]
    assert torch.equal(model(X), wanted)


def test_nothing_is_removed_where_a_name_is_unknown() -> None:
    model: Any = seeded(listed)
    before = submodules(model)
    with pytest.raises(ModelError, match=r"Expected a block 'blocks.7' to remove, found none"):
        remove(model, [Removal("blocks.1", Way.PASS), Removal("blocks.7", Way.PASS)])
    assert submodules(model) == before


def test_only_lists_and_sequences_can_be_deleted_from() -> None:
    with pytest.raises(ModelError, match=r"'stem' in a list or sequence to delete it from.*Listed"):
        remove(seeded(listed), [Removal("stem", Way.DELETE)])


def test_the_places_of_a_part() -> None:
    model: Any = seeded(perceptrons.tied_modules)
    assert places_of(model, model.first) == [(model, "first"), (model, "second")]
    assert places_of(model, model.first[0]) == [(model.first, "0")]
    assert places_of(model, nn.ReLU()) == []


def test_a_compiled_part_goes_with_its_wrapper() -> None:
    model: Any = seeded(listed)
    wanted = model.head(model.blocks[2](model.blocks[0](model.stem(X))))
    model.blocks[1] = torch.compile(model.blocks[1], backend="eager")
    remove(model, [Removal("blocks.1", Way.PASS)])
    assert isinstance(model.blocks[1], PassThrough)
    assert torch.equal(model(X), wanted)


@pytest.mark.parametrize(
    ("names", "way", "left"),
    [
        (("stem", "blocks.0", "blocks.1"), Way.PASS, ("stem", "blocks.0")),
        (["blocks.1", "blocks.2"], Way.PASS, ("blocks.2",)),
        (("blocks.1", "blocks.2"), Way.DELETE, ("blocks.1",)),  # which is the third
        (("blocks.0", "blocks.2"), Way.DELETE, ("blocks.0", "blocks.1")),
        (("stem", "blocks.1.0", "blocks.2.0"), Way.PASS, ("stem", "blocks.2.0")),
        (("stem", "blocks.*"), Way.PASS, ("stem", "blocks.*")),
        (("stem", "blocks.0#2"), Way.PASS, ("stem", "blocks.0#2")),
        (("blocks.1",), Way.PASS, ()),
    ],
)
def test_the_names_of_its_blocks_stay_true(names: Any, way: Way, left: tuple[str, ...]) -> None:
    model: Any = seeded(listed)
    model.block_names = names
    remove(model, [Removal("blocks.1", way)])
    assert tuple(model.block_names) == left


def test_names_that_the_model_works_out_itself_are_its_own() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([dense() for _ in range(3)])

        @property
        def block_names(self) -> tuple[str, ...]:
            return tuple(f"blocks.{i}" for i in range(len(self.blocks)))

        def forward(self, x: Tensor) -> Tensor:
            return chain(self.blocks, x)

    model = Net()
    remove(model, [Removal("blocks.1", Way.DELETE)])
    assert model.block_names == ("blocks.0", "blocks.1")


# --- other widths ---


def depthwise(channels: int, per_group: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels * per_group, 3, groups=channels)


LAYERS: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 4), lambda: nn.Linear(5, 3), (7, 5)),
    "without bias": (
        lambda: nn.Linear(6, 4, bias=False),
        lambda: nn.Linear(5, 3, bias=False),
        (7, 5),
    ),
    "convolution": (lambda: nn.Conv2d(4, 6, 3), lambda: nn.Conv2d(2, 5, 3), (7, 2, 8, 8)),
    "of sequences": (lambda: nn.Conv1d(4, 6, 3), lambda: nn.Conv1d(3, 2, 3), (7, 3, 8)),
    "depthwise": (lambda: depthwise(6, 1), lambda: depthwise(4, 1), (7, 4, 8, 8)),
    "depthwise, two each": (lambda: depthwise(6, 2), lambda: depthwise(4, 2), (7, 4, 8, 8)),
    "grouped": (
        lambda: nn.Conv2d(8, 6, 3, groups=2),
        lambda: nn.Conv2d(4, 2, 3, groups=2),
        (7, 4, 8, 8),
    ),
    "batch norm": (lambda: nn.BatchNorm1d(6), lambda: nn.BatchNorm1d(4), (7, 4)),
    "batch norm without weights": (
        lambda: nn.BatchNorm2d(6, affine=False),
        lambda: nn.BatchNorm2d(4, affine=False),
        (7, 4, 3, 3),
    ),
    "layer norm": (lambda: nn.LayerNorm(6), lambda: nn.LayerNorm(4), (7, 4)),
    "group norm": (lambda: nn.GroupNorm(2, 6), lambda: nn.GroupNorm(2, 4), (7, 4, 3)),
    "instance norm": (
        lambda: nn.InstanceNorm1d(6, affine=True),
        lambda: nn.InstanceNorm1d(4, affine=True),
        (7, 4, 3),
    ),
    "activation": (lambda: nn.PReLU(6), lambda: nn.PReLU(4), (7, 4)),
}
"""By kind: a layer, the same with other widths, and the shape of an input for that."""


@pytest.mark.parametrize("kind", LAYERS)
def test_a_resized_layer_is_like_one_that_was_made_so(kind: str) -> None:
    make, other, shape = LAYERS[kind]
    wanted = nn.Sequential(other(), nn.Identity()).eval()
    model = nn.Sequential(make(), nn.Identity()).eval()
    resize(model, {name: tuple(tensor.shape) for name, tensor in wanted.state_dict().items()})
    assert repr(model) == repr(wanted)
    model.load_state_dict(wanted.state_dict())
    x = torch.randn(shape)
    assert torch.equal(model(x), wanted(x))


def test_a_resized_layer_has_fresh_weights_and_all_others_keep_theirs() -> None:
    model: Any = seeded(perceptrons.row)
    before = dict(model.named_parameters())
    shapes = {"2.weight": (5, 6), "2.bias": (5,), "4.weight": (3, 5), "0.weight": (6, 6)}
    resize(model.double(), shapes)
    after = dict(model.named_parameters())
    assert [name for name in after if after[name] is not before[name]] == [
        "2.weight",
        "2.bias",
        "4.weight",
    ]
    assert all(p.dtype == torch.float64 and p.count_nonzero() for p in after.values())
    assert model(X.double()).shape == (7, 3)


@pytest.mark.parametrize(
    ("layer", "name", "shape"),
    [
        (nn.Embedding(4, 6), "weight", (4, 5)),
        (nn.MultiheadAttention(4, 2), "in_proj_weight", (6, 2)),
        (linear(), "", ()),
    ],
)
def test_only_known_layers_can_be_resized(layer: nn.Module, name: str, shape: Any) -> None:
    model = nn.ModuleDict({"part": layer})
    if not name:
        model.register_parameter("scale", nn.Parameter(torch.ones(3)))
        with pytest.raises(ModelError, match="can be narrower, got ModuleDict ''"):
            resize(model, {"scale": (2,)})
        return
    with pytest.raises(ModelError, match=f"can be narrower, got {type(layer).__name__} 'part'"):
        resize(model, {f"part.{name}": shape})


@pytest.mark.parametrize(
    ("name", "now"),
    [
        ("layers.0", "layers.0"),
        ("layers.3.norm", "layers.1.norm"),
        ("layers.10#2", "layers.8#2"),
        ("stages.1.4", "stages.1.3"),
        ("stages.2.4", "stages.2.4"),
        ("layersx.3", "layersx.3"),
    ],
)
def test_what_lies_behind_deleted_parts_of_a_list_has_another_number(name: str, now: str) -> None:
    gone = ["layers.1", "layers.2", "stages.1.2"]
    removals = [*(Removal(block, Way.DELETE) for block in gone), Removal("layers.0", Way.PASS)]
    assert name_after(name, removals) == now
