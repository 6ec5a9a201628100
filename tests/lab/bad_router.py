"""A home router's UPnP that misbehaves: `bad_router.py TEMPER`. Runs on a lab host, alone; prints what it is asked."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading

INSIDE = "192.168.1.1"
VICTIM = "192.168.1.20"
"""nginx, to whom nobody has a reason to send requests of UPnP."""
TYPE = "urn:schemas-upnp-org:service:WANIPConnection:1"
PAUSE = threading.Event()
"""Never set: what waits for it only takes its time."""
PIECE = b"<x/>" * 4096


def description(control: str) -> bytes:
    return (
        "<?xml version='1.0'?><root><device><serviceList><service>"
        f"<serviceType>{TYPE}</serviceType><controlURL>{control}</controlURL>"
        "</service></serviceList></device></root>"
    ).encode()


def reply(body: bytes, status: str = "200 OK", head: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


def answer(temper: str, request: str, connection: socket.socket) -> None:
    if temper == "garbage":
        connection.sendall(bytes(range(256)) * 64)
    elif temper == "endless":
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(PIECE)
    elif temper == "slow":
        for byte in reply(description("/control")):
            connection.sendall(bytes([byte]))
            PAUSE.wait(0.5)
    elif temper == "redirect":
        connection.sendall(reply(b"", "302 Found", f"Location: http://{VICTIM}/secret\r\n"))
    elif temper == "elsewhere":
        connection.sendall(reply(description(f"http://{VICTIM}:80/control")))
    elif request.startswith("GET"):  # "private": well-behaved, behind another router
        connection.sendall(reply(description("/control")))
    else:
        connection.sendall(reply(b"<Body><NewExternalIPAddress>100.64.7.7</NewExternalIPAddress></Body>"))


def serve(temper: str, connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        request = connection.recv(4096).decode("latin-1")
        print("asked", request.split("\r\n", maxsplit=1)[0], flush=True)
        answer(temper, request, connection)
        connection.shutdown(socket.SHUT_WR)


def listen(temper: str) -> None:
    listener = socket.create_server((INSIDE, 5000))
    while True:
        threading.Thread(target=serve, args=(temper, listener.accept()[0]), daemon=True).start()


def main() -> None:
    temper = sys.argv[1]
    searches = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    searches.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    searches.bind(("", 1900))
    group = struct.pack("4s4s", socket.inet_aton("239.255.255.250"), socket.inet_aton(INSIDE))
    searches.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    answers = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    answers.bind((INSIDE, 0))
    threading.Thread(target=listen, args=(temper,), daemon=True).start()
    print("ready", flush=True)
    while True:
        search, asker = searches.recvfrom(4096)
        if search.startswith(b"M-SEARCH"):
            answers.sendto(f"HTTP/1.1 200 OK\r\nLOCATION: http://{INSIDE}:5000/root.xml\r\n\r\n".encode(), asker)


main()
