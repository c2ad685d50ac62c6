"""Lets tests, and each Python that they start, reach this machine alone, as if it had no network.

Python runs a module of this name when it starts and PYTHONPATH leads to it; VBENCH_OFFLINE, which `conftest.py` sets, shuts it.
"""

import os
import sys
from typing import Any


def refuse(event: str, given: tuple[Any, ...]) -> None:
    """Stop a look-up or a connection that leads away from this machine."""
    if event not in ("socket.connect", "socket.getaddrinfo") or "VBENCH_OFFLINE" not in os.environ:
        return
    import errno
    import socket

    if event == "socket.getaddrinfo":
        host, error = given[0], socket.gaierror(socket.EAI_NONAME, f"tests reach this machine alone, not {given[0]}")
    elif given[0].family in (socket.AF_INET, socket.AF_INET6):
        host, error = given[1][0], OSError(errno.ENETUNREACH, f"tests reach this machine alone, not {given[1][0]}")
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if _is_address(host):
        is_fine = event == "socket.getaddrinfo" or _is_own(host)
    else:
        is_fine = host in ("localhost", socket.gethostname(), "", None)
    if not is_fine:
        raise error


def _is_own(host: str) -> bool:
    """Tell whether an address is one of this machine's: only those can be bound to."""
    import socket

    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as door:
            door.bind((host, 0))
        return True
    except OSError:
        return False


def _is_address(host: object) -> bool:
    import ipaddress

    try:
        return bool(ipaddress.ip_address(str(host)))
    except ValueError:
        return False


sys.addaudithook(refuse)
