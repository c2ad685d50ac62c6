"""A page of vbench-ctl on a real port, in a thread of the test."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vbench_ctl.play import server

TOKEN = "the-token-of-a-test"


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


@contextmanager
def serving(page: server.Page, port: int) -> Iterator[str]:
    """Serve a page, and yield its address."""
    running = server.ready(page, TOKEN, "127.0.0.1", port)
    running.config.host, running.config.port = "127.0.0.1", port
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}/{TOKEN}/"
    finally:
        running.should_exit = True
        thread.join()
