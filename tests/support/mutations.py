"""Spoil files at random in the ways of a hostile or careless user."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np

Place = tuple[Any, ...]
"""The keys that lead to a place in JSON content."""

CALLABLE = "bystander:call"
"""A name whose module has been imported already, so that only a call could be noticed."""

CODE = [
    "intruder:space",
    CALLABLE,
    "os:abort",
    "http.server:test",
    "sys:exit",
    "intruder",
    ":",
    "a:",
]
"""Names of code that a file may hold."""

ODD_NUMBERS = [0, -1, 1, 7, 2**31, 2**63, 10**12, 10**400, -0.0, 0.5, -5.0, 1e308, 1e-320]

NO_NUMBERS = [float("nan"), float("inf"), float("-inf")]

ODD_TEXTS = [
    "", " ", "ok", "none", "\x00", "\x1b[31mred", "<script>alert(1)</script>", "a\nb", "\ud800",
    "é" * 300, "x" * 5000, "../..", "/dev/zero", "/dev/zero.npz", "nowhere.npz", "digits", "1e5",
    "{{ 7 * 7 }}", "$(touch it-ran)", "=1+1", "\U0001d7d9", "\u202etxt",
]  # fmt: skip

ODD_VALUES: list[Any] = [
    None, True, False, *ODD_NUMBERS, *NO_NUMBERS, *ODD_TEXTS, *CODE, [], {}, [None], [[]], [1, 2],
    {"": None}, {"factory": CODE[0]}, {"source": CODE[0]}, {"spec": {}}, [10**12], [0] * 20,
]  # fmt: skip

NESTED = 10_000
"""How deep hostile JSON is nested."""

MOST_MUTATIONS = 3

LISTS = [[], [0], [-1], [10**12], [10**12, 0], [0, 10**400], [1, 2, 3]]

TYPES = ["F32", "F64", "BF16", "I64", "BOOL", "F4", "", 7]


def places(content: Any, above: Place = ()) -> Iterator[Place]:
    """Return the path to every value in JSON content, that of the content itself included."""
    yield above
    if isinstance(content, dict | list):
        keys = content if isinstance(content, dict) else range(len(content))
        for key in keys:
            yield from places(content[key], (*above, key))


def mutated_json(rng: Random, content: Any) -> str:
    """Return the text of JSON content with up to ``MOST_MUTATIONS`` values spoilt."""
    for _ in range(rng.randint(1, MOST_MUTATIONS)):
        content = _replaced(rng, content, rng.choice(list(places(content))))
    text = json.dumps(content)
    return rng.choice([*[text] * 12, text[: len(text) // 2], nested(text), f"\ufeff{text}"])


def nested(text: str) -> str:
    """Return JSON that holds a text of JSON far too deep inside."""
    return '{"schema": ' + "[" * NESTED + text + "]" * NESTED + "}"


def _replaced(rng: Random, content: Any, place: Place) -> Any:
    """Return a copy of JSON content that is spoilt at one place."""
    if place:
        copied = dict(content) if isinstance(content, dict) else list(content)
        copied[place[0]] = _replaced(rng, content[place[0]], place[1:])
        return copied
    kind = rng.choice(["alike", "alike", "value", "remove", "add", "repeat"])
    if kind == "alike" and isinstance(content, int | float):
        return rng.choice([*ODD_NUMBERS, *NO_NUMBERS])
    if kind == "alike" and isinstance(content, str):
        return rng.choice([*ODD_TEXTS, *CODE])
    if kind in ("alike", "value") or not isinstance(content, dict | list) or not content:
        return rng.choice(ODD_VALUES)
    if isinstance(content, dict):
        key = rng.choice(list(content))
        if kind == "remove":
            return {name: value for name, value in content.items() if name != key}
        return {**content, rng.choice(ODD_TEXTS): content[key]}
    at = rng.randrange(len(content))
    if kind == "remove":
        return [*content[:at], *content[at + 1 :]]
    return [*content, *[content[at]] * rng.choice([1, 50])]


def mutated_bytes(rng: Random, content: bytes) -> bytes:
    """Return bytes of which some are changed, lost or added, or that end early."""
    spoilt = bytearray(content)
    for _ in range(rng.randint(1, MOST_MUTATIONS)):
        at = rng.randrange(len(spoilt) + 1)
        kind = rng.choice(["flip", "flip", "cut", "insert", "lose"])
        if kind == "flip":
            spoilt[at : at + 1] = rng.randbytes(1)
        elif kind == "cut":
            del spoilt[at:]
        elif kind == "insert":
            spoilt[at:at] = rng.randbytes(rng.randint(1, 20))
        else:
            del spoilt[at : at + rng.randint(1, 100)]
    return bytes(spoilt)


def mutated_safetensors(rng: Random, content: bytes) -> bytes:
    """Return a safetensors file whose header is spoilt, or its stated length, or any bytes."""
    kind = rng.choice(["header", "header", "header", "length", "bytes", "bytes"])
    if kind == "bytes":
        return mutated_bytes(rng, content)
    size = struct.unpack("<Q", content[:8])[0]
    header, values = json.loads(content[8 : 8 + size]), content[8 + size :]
    if kind == "length":
        other = rng.choice([0, 1, size - 1, size + 1, 10**6, 10**9, 2**63, 2**64 - 1])
        return struct.pack("<Q", other) + content[8:]
    name = rng.choice(sorted(header))
    entry = header.pop(name)
    if rng.random() < 0.7:
        field = rng.choice(["dtype", "shape", "data_offsets", "more"])
        entry = {**entry, field: rng.choice([*TYPES, *LISTS, None])}
    renamed = rng.choice([name, name, "", "blocks.99.linear.weight", "x" * 5000])
    text = json.dumps({**header, renamed: entry}).encode()
    return struct.pack("<Q", len(text)) + text + values


INPUTS, LABELS = np.random.default_rng(0).normal(size=(30, 6)), np.arange(30) % 3
"""Arrays that a data set may hold."""

ODD_INPUTS: list[Any] = [
    np.zeros((0, 4)), np.zeros(3), np.zeros((30, 0)), np.zeros((30, 4)), np.zeros((30, 1, 1, 1, 1)),
    np.full((30, 4), np.nan), np.full((30, 4), 1e308), np.ones((30, 4), dtype=bool),
    np.array(["text"] * 30), np.array([b"bytes"] * 30), np.zeros(30, dtype="M8[s]"),
    np.zeros((30, 4), dtype=complex), np.arange(120).reshape(30, 4), np.float32(3), np.eye(30),
    np.random.default_rng(0).normal(size=(30, 6)), np.zeros(30, dtype=[("a", "f4"), ("b", "i2")]),
    np.zeros((30, 3, 8, 8), dtype=np.uint8), np.zeros((30, 2, 8, 8)), np.full((30, 6), np.inf),
]  # fmt: skip

ODD_LABELS: list[Any] = [
    np.arange(30) % 3, np.arange(30) % 2, np.zeros(30), np.arange(30), np.full(30, np.nan),
    np.array([10**12, -(10**12)] * 15), np.array(["a", "b", ""] * 10), np.arange(30) / 7,
    np.arange(29), np.zeros((30, 3)), np.array([2**63, 1] * 15, dtype=np.uint64),
    np.array([True, False] * 15), np.array(3), np.array([b"\xff", b"\x00"] * 15),
]  # fmt: skip

ODD_SHAPES = [(10**12,), (10**9,), (30, 2**40), (0, 10**15), (-1, 4), (), (3.5,), (10**400,)]

ODD_DTYPES = ["<f8", "|O", "|V8", "<U4", "|S0", "<M8[s]", ">i2", "nonsense", "<f2", [["a", "<f8"]]]


def odd_npz(rng: Random, content: bytes) -> bytes:
    """Return an .npz file that is spoilt, lies about its arrays, or holds odd ones."""
    kind = rng.choice(["bytes", "arrays", "arrays", "header"])
    if kind == "bytes":
        return mutated_bytes(rng, content)
    names = ["x_train", "y_train", "x_test", "y_test"][: rng.choice([2, 2, 4, 3])]
    if rng.random() < 0.1:
        names.reverse()
    arrays: dict[str, Any] = {}
    for name in names:
        good, odd = (INPUTS, ODD_INPUTS) if name[0] == "x" else (LABELS, ODD_LABELS)
        arrays[name] = rng.choice(odd) if rng.random() < 0.4 else good
    file = io.BytesIO()
    if kind == "arrays":
        np.savez(file, **arrays)
        return file.getvalue()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            header = {
                "descr": rng.choice([array.dtype.str, *ODD_DTYPES]),
                "fortran_order": rng.choice([False, True, "maybe"]),
                "shape": rng.choice([array.shape, *ODD_SHAPES]),
            }
            text = f"{header!r}\n".encode()
            start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text))
            archive.writestr(f"{name}.npy", start + text + array.tobytes())
    return file.getvalue()


ODD_WORDS = [
    "", " ", "0", "-1", "1", "2", "0.5", "nan", "inf", "-inf", "1e308", "1e400", "1e-320", "1_000",
    "0x10", "10" * 200, "10000000000000", "é", "\U0001d7d9", "\u202e", "x" * 5000, "a,b", ",",
    "blocks.*", "[", "**", "\x1b[31m", "a\nb", "best", "small", "best/spec.json", "nowhere",
    "nowhere.npz", "blobs.npz", "/dev/null", "/dev/zero", "/proc/self/mem", ".", "~", "cpu",
    "cuda:99", "meta", "mlp", "cnn", "none", "standard", "0/0", "0,0,0,0,0,0/1,1,1,1,1,1",
    "nan/nan", "1/0", "json", "svg", "png", "grpc://", "grpc://[", "s3://", "s3://[", "://",
    "separation", "residual", "project", "flatten", "test", "design",
]  # fmt: skip
"""Values of options that few users would give."""
