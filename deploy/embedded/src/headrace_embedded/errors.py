"""What can go wrong on one machine.

EmbeddedError
├── Missing      a program or file that has to be there; the message says how to get it
├── NotReady     a server or service did not come up in time; the message names its log
├── InUse        a folder or port belongs to somebody else
└── UsedWrongly  an option or variable has a value that makes no sense
"""

from __future__ import annotations


class EmbeddedError(Exception):
    """A part of the embedded deployment failed. The message is for people and ends with the mend."""


class Missing(EmbeddedError):
    """A program or file that has to be there."""


class NotReady(EmbeddedError):
    """A server or service did not come up in time."""


class InUse(EmbeddedError):
    """A folder or port belongs to somebody else."""


class UsedWrongly(EmbeddedError):
    """An option or variable has a value that makes no sense."""
