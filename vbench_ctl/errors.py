"""Errors a user can mend. The command line shows each as one sentence, without a traceback."""

import errno
from collections.abc import Iterable


class VbenchError(Exception):
    """What was found, what was expected, where, and what to do."""

    exit_code = 1


class UsageError(VbenchError):
    """A word or an argument that means nothing here."""

    exit_code = 2


class ManualStep(VbenchError):
    """Something only the user can do: ask for access, place a file."""

    exit_code = 3


class Unreadable(OSError):
    """A file that the system does not read now and may read later, so that nobody takes it for a damaged one."""


def of_the_system(error: Exception) -> bool:
    """Tell the system's own errors, such as a file that went or a disk that fails, from those of readers of damaged data."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def unknown(kind: str, word: str, known: Iterable[str]) -> UsageError:
    """Say that `word` is no such thing and which name comes nearest."""
    import difflib

    known = sorted(known)
    begins = [name for name in known if name.startswith(word.lower())] if word else []
    near = sorted(begins, key=len) or difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"?' if near else ""
    listed = f"known: {', '.join(known) or 'none'}" if not near or len(known) <= 20 else ""
    return UsageError(f'no {kind} "{word}"; {" ".join(filter(None, (hint, listed)))}')
