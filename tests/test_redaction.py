"""No password is ever shown, whatever it is made of and wherever it stands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from designer import redaction
from designer.errors import InvalidInputError, StorageError
from designer.redaction import has_password, keep_secret, redact, redact_address


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Forget the passwords of earlier tests, and those of this one afterwards."""
    before = set(redaction._secrets)
    redaction._secrets.clear()
    yield
    redaction._secrets.clear()
    redaction._secrets.update(before)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:a@b@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me@server:a@host/db", "postgresql://me@server:***@host/db"),
        ("grpc://:a@host:13000", "grpc://:***@host:13000"),
        ("http://me:a/b?c#d@host/x", "http://me:***@host/x"),
        ("http://me:a:b@host/x", "http://me:***@host/x"),
        ("http://host/x?Pass%57ord=a&y=1", "http://host/x?Pass%57ord=***&y=1"),
        ("s3://bucket/x?X-Amz-Signature=a", "s3://bucket/x?X-Amz-Signature=***"),
        ("http://me:a@host/x?token=b", "http://me:***@host/x?token=***"),
    ],
)
def test_an_address_is_taken_apart(text: str, shown: str) -> None:
    assert redact(text) == redact_address(text) == shown
    assert redact(f"Cannot open '{text}': no.") == f"Cannot open '{shown}': no."
    assert redact(f"{text} and {text}") == f"{shown} and {shown}"
    assert has_password(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Expected a space among mlp, cnn, got 'a:b@c'.",
        "postgresql+psycopg://me@host:5432/db",
        "s3://bucket/a@b",
        "http://host/x?page=1&size=2",
        "runs/?x=1",
    ],
)
def test_text_without_a_password_is_unchanged(text: str) -> None:
    assert redact(text) == redact_address(text) == text
    assert not has_password(text)


def test_a_port_is_no_password() -> None:
    text = "Workers use grpc://localhost:13000; Ctrl-C stops it. Write to me@host."
    assert redact(text) == text


LETTERS = st.text(st.characters(codec="utf-8", exclude_characters="#X", exclude_categories=["C"]))


@settings(max_examples=300, derandomize=True)
@given(LETTERS, LETTERS)
def test_no_part_of_a_password_is_left_in_an_address(before: str, after: str) -> None:
    """The password holds ``XXXXXX`` anywhere among any other characters."""
    address = f"postgresql+psycopg://me:{before}XXXXXX{after}@host/db"
    assert "XXXXXX" not in redact_address(address)
    assert redact_address(address).endswith("@host/db")


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("postgresql://me:pa%40ss%20word@host/db", "FATAL: pa@ss word, pa%40ss%20word."),
        ("postgresql://me@host/db?password=pa%40ss%20word", "FATAL: pa@ss word, pa%40ss%20word."),
        ("postgresql://me:pa@ss word@host/db", "FATAL: no host ss word@host, ss word@host."),
    ],
)
def test_what_drivers_repeat_of_a_password_is_hidden(address: str, error: str) -> None:
    assert "word" in redact(error)
    keep_secret(address)
    assert "word" not in redact(error)
    assert redact(error).startswith("FATAL: ")


def test_a_short_password_hides_no_words() -> None:
    keep_secret("postgresql://me:db@host/db")
    keep_secret("postgresql://designer:designer@host/db")
    assert redact("the db of designer") == "the db of designer"


@pytest.mark.parametrize("kind", [InvalidInputError, StorageError])
def test_no_error_shows_a_password(kind: type[Exception]) -> None:
    error = kind("Expected data, got 'http://me:pa@ss@host/x'.")
    assert str(error) == "Expected data, got 'http://me:***@host/x'."
