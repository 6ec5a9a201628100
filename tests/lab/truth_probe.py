"""What a program sees of the odd server (truth_server.py) and of what is not there: run on the LAN and through Postern.

Prints a JSON object: case → what happened, by the name of the errno. Arguments: the host, and a dead one.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable

sys.path.insert(0, os.path.dirname(__file__))
from truth_server import LATE_BYTES, PORTS  # noqa: E402

WAIT_SECONDS = 20.0
_PAUSE = threading.Event()
"""Never set: waiting for it is a pause between two looks."""
SILENT_SECONDS = 13.0
"""Longer than a connector tries: what is silent on the LAN must not become an error later."""


def _word(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "silent"
    return errno.errorcode.get(error.errno or 0, str(error))


def _open(host: str, case: str, seconds: float = WAIT_SECONDS) -> socket.socket:
    return socket.create_connection((host, PORTS[case]), timeout=seconds)


def _connect(host: str, case: str, seconds: float = WAIT_SECONDS) -> str:
    _open(host, case, seconds).close()
    return "open"


def _read_all(connection: socket.socket) -> bytes:
    said = b""
    while data := connection.recv(1 << 20):
        said += data
    return said


def _reset_mid_stream(host: str) -> str:
    with _open(host, "reset_mid_stream") as connection:
        got = 0
        while got < 100_000:
            got += len(connection.recv(65536))
        connection.sendall(b"x")
        connection.recv(1)
        return "end"


def _reset_after_answer(host: str) -> str:
    """The answer of a server that breaks the connection behind it, as nginx does after a refused upload."""
    with _open(host, "reset_after_answer") as connection:
        connection.sendall(b"?")
        _PAUSE.wait(0.5)
        got = 0
        try:
            while data := connection.recv(65536):
                got += len(data)
        except OSError as error:
            return f"{got} bytes, {type(error).__name__}"
        return f"{got} bytes, end"


def _half_close(host: str) -> str:
    with _open(host, "answer_after_end") as connection:
        connection.sendall(b"x" * 1_000_000)
        connection.shutdown(socket.SHUT_WR)
        return _read_all(connection).decode()


def _report(host: str, case: str) -> str:
    """What the server saw; it may still be looking."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with _open(host, "report") as connection:
            connection.sendall(case.encode())
            if said := _read_all(connection).decode():
                return said
        _PAUSE.wait(0.05)
    return "nothing"


def _half_close_by_server(host: str) -> str:
    with _open(host, "end_first") as connection:
        if connection.recv(1) != b"":
            return "data"
        connection.sendall(b"x" * 1_000_000)
    return _report(host, "end_first")


def _own_reset(host: str) -> str:
    connection = _open(host, "sees_reset")
    connection.sendall(b"x" * 1000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return _report(host, "sees_reset")


def _urgent(host: str) -> str:
    with _open(host, "urgent") as connection:
        connection.sendall(b"abc")
        connection.send(b"!", socket.MSG_OOB)
        connection.sendall(b"def")
        connection.shutdown(socket.SHUT_WR)
        return _read_all(connection).decode()


def _keep_alive(host: str) -> str:
    with _open(host, "open") as connection:
        for level, option, value in (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
        ):
            connection.setsockopt(level, option, value)
        said = connection.recv(5).decode()
        connection.settimeout(5)
        try:
            connection.recv(1)
        except TimeoutError:
            return said + " and alive"
        return "ended"


def _zero_window(host: str) -> str:
    with _open(host, "late_reader") as connection:
        connection.setblocking(False)
        at_once = 0
        deadline = time.monotonic() + 1.0
        while at_once < LATE_BYTES and time.monotonic() < deadline:
            try:
                at_once += connection.send(b"x" * min(1 << 16, LATE_BYTES - at_once))
            except BlockingIOError:
                _PAUSE.wait(0.01)
        connection.settimeout(WAIT_SECONDS)
        connection.sendall(b"x" * (LATE_BYTES - at_once))
        connection.shutdown(socket.SHUT_WR)
        arrived = _read_all(connection).decode()
        return f"{'held back' if at_once < LATE_BYTES else 'all taken at once'}, {arrived} arrived"


def _cases(host: str, dead: str) -> dict[str, Callable[[], str]]:
    connects = ["open", "closed", "reject_reset", "reject_port", "reject_admin", "reject_net", "late_accept"]
    cases: dict[str, Callable[[], str]] = {f"connect: {name}": lambda n=name: _connect(host, n) for name in connects}
    for name in ("filtered", "never_accept"):
        cases[f"connect: {name}"] = lambda n=name: _connect(host, n, SILENT_SECONDS)
    cases["connect: dead host"] = lambda: _connect(dead, "open")
    cases["connect: unknown name"] = lambda: _connect("nobody.home.lan", "open")
    cases["reset at accept"] = lambda: _open(host, "reset_at_accept").recv(1).decode() or "end"
    cases["reset mid-stream"] = lambda: _reset_mid_stream(host)
    cases["reset behind an answer"] = lambda: _reset_after_answer(host)
    cases["own reset, seen by the server"] = lambda: _own_reset(host)
    cases["half-close, answer after it"] = lambda: _half_close(host)
    cases["half-close by the server, bytes after it"] = lambda: _half_close_by_server(host)
    cases["urgent data, inline"] = lambda: _urgent(host)
    cases["keep-alive over an idle connection"] = lambda: _keep_alive(host)
    cases["reader with a zero window"] = lambda: _zero_window(host)
    return cases


def main() -> None:
    seen: dict[str, str] = {}

    def run(name: str, case: Callable[[], str]) -> None:
        try:
            seen[name] = case()
        except socket.gaierror:
            seen[name] = "unknown name"
        except OSError as error:
            seen[name] = _word(error)

    threads = [threading.Thread(target=run, args=item) for item in _cases(sys.argv[1], sys.argv[2]).items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
