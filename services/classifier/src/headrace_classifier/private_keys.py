"""Private keys in their armour: PEM (RFC 7468), OpenPGP and PuTTY's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headrace_classifier.masking import Span

RULE = "private-key"

#: The longest block that we look for the end of; a 16,384-bit RSA key in PEM has about 13,000 bytes.
_LONGEST = 32_768

_BEGIN = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PUTTY = re.compile(rb"PuTTY-User-Key-File-\d:")
_PUTTY_END = re.compile(rb"Private-MAC: ?[0-9a-fA-F]{40,64}")
#: What an unfinished block goes on with: lines of base64, also with written-out line ends as in JSON.
_BODY = re.compile(rb"(?:(?:\s|\\n|\\r)*[A-Za-z0-9+/=]{16,80})+")
#: Less than one line of base64 is an ellipsis or a sentence, not a key.
_MATERIAL = re.compile(rb"[A-Za-z0-9+/]{24,}")


def private_keys(data: bytes) -> Iterator[Span]:
    """Yields the blocks that hold key material, armour included. An example with no material in it is no key."""
    for begin, end in ((_BEGIN, _END), (_PUTTY, _PUTTY_END)):
        position = 0
        while (head := begin.search(data, position)) is not None:
            position = _end_of_block(data, head.end(), end)
            if _MATERIAL.search(data, head.end(), position):
                yield Span(head.start(), position, RULE)


def _end_of_block(data: bytes, start: int, end: re.Pattern[bytes]) -> int:
    """Returns where the block ends: behind its last line or, where that is missing, behind its base64."""
    limit = min(len(data), start + _LONGEST)
    closing = end.search(data, start, limit)
    if closing:
        return closing.end()
    body = _BODY.match(data, start, limit)
    return body.end() if body else start
