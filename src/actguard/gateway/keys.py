"""API keys: `ag_live_<key_id>.<secret>`. The secret is shown once and stored hashed; a typing error is seen at once."""

import hashlib
import hmac
import re
import secrets
import zlib
from typing import Final, NamedTuple

_LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM: Final = re.compile(r"ag_live_([0-9A-Za-z]{12})\.([0-9A-Za-z]{27})([0-9A-Za-z]{6})")


class Key(NamedTuple):
    key_id: str
    secret: str

    @property
    def text(self) -> str:
        """The key as its owner keeps it."""
        return f"ag_live_{self.key_id}.{self.secret}"

    @property
    def hash(self) -> str:
        """What is stored. The secret holds 160 random bits, so a slow hash would protect nothing more."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def fits(self, stored: str) -> bool:
        return hmac.compare_digest(self.hash, stored)


def new_key() -> Key:
    key_id = "".join(secrets.choice(_LETTERS) for _ in range(12))
    body = "".join(secrets.choice(_LETTERS) for _ in range(27))
    return Key(key_id, body + _checksum(key_id, body))


def parse_key(text: str) -> Key | None:
    """The key that *text* is; None when it cannot be one, by its form or its checksum."""
    found = _FORM.fullmatch(text)
    if found is None or not hmac.compare_digest(_checksum(found[1], found[2]), found[3]):
        return None
    return Key(found[1], found[2] + found[3])


def _checksum(key_id: str, body: str) -> str:
    number, digits = zlib.crc32(f"{key_id}.{body}".encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits += _LETTERS[digit]
    return digits
