"""Hashes of passwords as the C library makes them: every Debian has its library."""

from __future__ import annotations

import ctypes

from goldsmith.errors import MissingToolError

_LIBRARY = "libcrypt.so.1"


def password_hash(password: bytes, setting: str) -> str:
    """The hash by a setting of crypt(5), such as "$2a$10$" and a salt; "" for one it has not.

    Raises MissingToolError without the library.
    """
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise MissingToolError(_LIBRARY, "libcrypt1") from error
    library.crypt.restype = ctypes.c_char_p
    hashed: bytes | None = library.crypt(password, setting.encode())
    text = hashed.decode() if hashed else ""
    # What begins with an asterisk is how the library says that it does not know the setting.
    return "" if text.startswith("*") else text
