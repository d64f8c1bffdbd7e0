"""Hide passwords in everything that is shown, logged or stored.

An address is taken apart as ``SCHEME://USER:PASSWORD@HOST/PATH?NAME=VALUE``. People forget to
escape what a password contains, and then programs disagree about where it ends: what may be a part
of it is hidden, even if a harmless part of the address goes with it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"
"""What stands in the place of a password."""

SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|credential|signature|^sig$", re.IGNORECASE)
"""Names of parameters in an address whose values are hidden."""

SHORTEST_SECRET = 6
"""Letters that a password needs to be hidden outside addresses, where it may be any word."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_END_OF_ADDRESS = re.compile(r"[\s'\"<>`]")
_HOST = re.compile(r"[^:@]*(:\d*)?([/?#][^@]*)?[.,;)]*")
_PARAMETER = re.compile(r"([?&;])([^=&;?#\s'\"]*)=([^&;#\s'\"]*)")

_secrets: set[str] = set()
"""Passwords of this process's own addresses, which drivers may repeat in their errors."""


def redact(text: str) -> str:
    """Return a text with ``***`` for every password in it, otherwise unchanged.

    Args:
        text: may contain any number of addresses. Passwords that ``keep_secret`` knows are hidden
            outside addresses, too.
    """
    shown, position = "", 0
    while scheme := _SCHEME.search(text, position):
        shown += text[position : scheme.end()]
        hidden, length = _first_address(text[scheme.end() :])
        shown += hidden
        position = scheme.end() + length
    shown = _without_parameters(shown + text[position:])
    for secret in sorted(_secrets, key=len, reverse=True):
        shown = shown.replace(secret, HIDDEN)
    return shown


def redact_address(address: str) -> str:
    """Return an address that is nothing else with ``***`` for its passwords.

    Unlike in ``redact``, spaces and quotation marks are parts of the address: its password may
    hold an ``@`` after them.
    """
    scheme = _SCHEME.search(address)
    if scheme is None:
        return address
    user, password, rest = _parts(address[scheme.end() :])
    if password is None:
        return _without_parameters(address)
    return f"{address[: scheme.end()]}{user}:{HIDDEN}@{_without_parameters(rest)}"


def keep_secret(address: str) -> None:
    """Hide the passwords of an address from now on wherever ``redact`` meets them.

    Args:
        address: of a storage or of files; text that is no address has no passwords.
    """
    _secrets.update(_passwords_of(address))


def has_password(address: str) -> bool:
    """Return True if an address holds a password or another secret."""
    return redact_address(address) != address


def _parts(rest: str) -> tuple[str, str | None, str]:
    """Return user, password and what follows them in an address without its scheme.

    The password is None where there is none. The last ``@`` ends it, since those before may belong
    to it.
    """
    user, colon, behind = rest.partition(":")
    if not colon or "@" not in behind or re.search(r"[/?#]", user):
        return "", None, rest
    password, _, host = behind.rpartition("@")
    return user, password, host


def _first_address(text: str) -> tuple[str, int]:
    """Return the address that a text begins with, its password hidden, and how long it was.

    Args:
        text: begins behind the scheme of the address.
    """
    end = _END_OF_ADDRESS.search(text)
    address = text[: end.start()] if end else text
    if "@" not in address and not _HOST.fullmatch(address):
        # a password may itself contain what seems to end the address
        address = text[: text.find("@") + 1] or address
    user, password, host = _parts(address)
    shown = address if password is None else f"{user}:{HIDDEN}@{host}"
    return shown, len(address)


def _without_parameters(text: str) -> str:
    """Return a text with ``***`` for the values of secret parameters in it."""

    def hidden(match: re.Match[str]) -> str:
        mark, name, value = match.groups()
        secret = value and SECRET_NAME.search(unquote(name))
        return f"{mark}{name}={HIDDEN if secret else value}"

    return _PARAMETER.sub(hidden, text)


def _passwords_of(address: str) -> set[str]:
    """Return all that drivers may take for the password of an address, or for a part of it."""
    scheme = _SCHEME.search(address)
    if scheme is None:
        return set()
    user, password, rest = _parts(address[scheme.end() :])
    values = [] if password is None else [password, *password.split("@")]
    values += [v for _, name, v in _PARAMETER.findall(rest) if SECRET_NAME.search(unquote(name))]
    forms = {form for value in values for form in (value, unquote(value))}
    return {form for form in forms if len(form) >= SHORTEST_SECRET and form != unquote(user)}
