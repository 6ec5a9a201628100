"""A TCP server of the lab that behaves in one odd way on each of its ports (see PORTS). What it saw of a connection is
told to whoever asks on PORTS["report"]."""

from __future__ import annotations

import socket
import struct
import threading
import time

PORTS = {
    "open": 9000,
    "reset_at_accept": 9001,
    "reset_mid_stream": 9002,
    "answer_after_end": 9003,
    "end_first": 9004,
    "sees_reset": 9005,
    "urgent": 9006,
    "late_reader": 9007,
    "late_accept": 9008,
    "never_accept": 9009,
    "report": 9010,
    "reset_after_answer": 9011,
    "closed": 9020,
    "reject_reset": 9021,
    "reject_port": 9022,
    "reject_admin": 9023,
    "reject_net": 9024,
    "filtered": 9025,
}
LATE_SECONDS = 2.0
_PAUSE = threading.Event()
"""Never set: being late is what this server is for."""
LATE_BYTES = 24 << 20
_seen: dict[str, str] = {}


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _read_all(connection: socket.socket) -> bytes:
    said = b""
    while data := connection.recv(1 << 20):
        said += data
    return said


def _open(connection: socket.socket) -> None:
    connection.sendall(b"hello")
    _read_all(connection)


def _reset_mid_stream(connection: socket.socket) -> None:
    connection.sendall(b"x" * 100_000)
    connection.recv(1)
    _reset(connection)


def _reset_after_answer(connection: socket.socket) -> None:
    connection.recv(1)
    connection.sendall(b"x" * 1000)
    _reset(connection)


def _answer_after_end(connection: socket.socket) -> None:
    connection.sendall(str(len(_read_all(connection))).encode())


def _end_first(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    _seen["end_first"] = str(len(_read_all(connection)))


def _sees_reset(connection: socket.socket) -> None:
    got, ending = 0, "end"
    try:
        while data := connection.recv(1 << 20):
            got += len(data)
    except OSError as error:
        ending = type(error).__name__
    _seen["sees_reset"] = f"{got} bytes, {ending}"


def _urgent(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    connection.sendall(_read_all(connection))


def _late_reader(connection: socket.socket) -> None:
    _PAUSE.wait(LATE_SECONDS)
    total = 0
    while data := connection.recv(1 << 20):
        total += len(data)
    connection.sendall(str(total).encode())


def _report(connection: socket.socket) -> None:
    connection.sendall(_seen.pop(connection.recv(100).decode(), "").encode())


_BEHAVIOURS = {
    "open": _open,
    "reset_at_accept": _reset,
    "reset_mid_stream": _reset_mid_stream,
    "reset_after_answer": _reset_after_answer,
    "answer_after_end": _answer_after_end,
    "end_first": _end_first,
    "sees_reset": _sees_reset,
    "urgent": _urgent,
    "late_reader": _late_reader,
    "report": _report,
}


def _listen(port: int, backlog: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(backlog)
    return listener


def _serve_one(name: str, connection: socket.socket) -> None:
    with connection:
        _BEHAVIOURS[name](connection)


def _serve(name: str) -> None:
    listener = _listen(PORTS[name], 4096)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve_one, args=(name, connection), daemon=True).start()


def _fill(port: int) -> list[socket.socket]:
    """Connects until the backlog is full: further SYNs are dropped by the listener's kernel."""
    waiting = []
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
        waiting.append(one)
    return waiting


def _late_accept() -> None:
    """Full for a while, then accepting for a while, and so on."""
    listener = _listen(PORTS["late_accept"], 0)
    while True:
        waiting = _fill(PORTS["late_accept"])
        _PAUSE.wait(LATE_SECONDS)
        deadline = time.monotonic() + LATE_SECONDS * 3
        while (left := deadline - time.monotonic()) > 0:
            listener.settimeout(left)
            try:
                listener.accept()[0].close()
            except TimeoutError:
                break
        for one in waiting:
            one.close()


def main() -> None:
    never = _listen(PORTS["never_accept"], 0)
    full = _fill(PORTS["never_accept"])
    for name in _BEHAVIOURS:
        threading.Thread(target=_serve, args=(name,), daemon=True).start()
    threading.Thread(target=_late_accept, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()
    del never, full


if __name__ == "__main__":
    main()
