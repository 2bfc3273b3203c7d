"""Spellings that mean the same: applied to what a read returned and to what a call says, on both sides alike.

A normaliser evens out what people write differently, and never what nobody can see: a zero-width letter or a look-alike
makes another value, so that nothing passes in disguise.
"""

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from actguard.exceptions import ActGuardUsageError
from actguard.pipeline.guard import called

Normaliser = Callable[[Any], Any]


def _text(value: Any) -> Any:
    return " ".join(str(value).split()) if isinstance(value, str | int) and not isinstance(value, bool) else value


def _casefold(value: Any) -> Any:
    return " ".join(value.split()).casefold() if isinstance(value, str) else value


def _email(value: Any) -> Any:
    """Name <a@B.example> and mailto:A@b.example are a@b.example."""
    if not isinstance(value, str):
        return value
    address = value.strip()
    if address.endswith(">") and "<" in address:
        address = address[address.rindex("<") + 1 : -1]
    return address.removeprefix("mailto:").casefold()


def _url(value: Any) -> Any:
    """Scheme and host in small letters; no default port, no fragment, no empty path."""
    if not isinstance(value, str):
        return value
    from urllib.parse import urlsplit, urlunsplit

    try:
        parts = urlsplit(value.strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return value
    if "@" in parts.netloc or "\\" in value:
        return value
    named = host if port in (None, {"http": 80, "https": 443}.get(parts.scheme)) else f"{host}:{port}"
    return urlunsplit((parts.scheme, named, parts.path or "/", parts.query, ""))


_GROUPING = re.compile(r"[ \u00a0.()/-]")


def _digits(value: Any) -> Any:
    """Numbers that are names (phone, card, order): without what groups them."""
    return _GROUPING.sub("", str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else value


def _iban(value: Any) -> Any:
    return "".join(value.split()).upper() if isinstance(value, str) else value


_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")


def _number(value: Any) -> Any:
    """ "42", "42.0" and 42 are 42; a number with a comma in it means two things, and stays what it is."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return value
    try:
        return Decimal(value.strip())
    except InvalidOperation:
        return value


NORMALISERS: Final[dict[str, Normaliser]] = {
    "text": _text,
    "casefold": _casefold,
    "email": _email,
    "url": _url,
    "digits": _digits,
    "iban": _iban,
    "number": _number,
}


def normaliser(spec: Any) -> Normaliser | None:
    """The function that *spec* names or is.

    Raises:
        ActGuardUsageError: there is none of that name, or it would have to be awaited.
    """
    if spec is None or callable(spec):
        if spec is not None:
            called("normalize", spec)
        named: Normaliser | None = spec
        return named
    found = NORMALISERS.get(spec) if isinstance(spec, str) else None
    if found is None:
        raise ActGuardUsageError(
            f"normalize must be a function or one of {', '.join(map(repr, NORMALISERS))}, not {spec!r}",
            argument="normalize",
        )
    return found
