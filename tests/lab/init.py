"""The lab's process 1: makes the hosts, owns every long-running process on them, answers on a control socket.

It is started as `unshare -n -m -p -i --fork --kill-child --mount-proc python3 -m lab.init RUN_DIR TREE`. Being process
1 of its own PID namespace is what makes the lab crash-proof: however it ends, also by kill -9, the kernel ends
everything inside.

The control socket takes one JSON request per connection and gives one JSON answer. It is for testbed.py only.

Standard input is a leash: where the starter keeps a pipe open, the end of the pipe ends the lab, so a killed test run
leaves nothing. A lab that shall stay has /dev/null there and `--stay`.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import hosts, kernel, topology

REQUEST_LIMIT = 1 << 20
ENDED_LIMIT = 200
"""Ended processes that are remembered; beyond it the oldest is forgotten."""


@dataclass
class Process:
    """A process that was asked for by name. `exit` is None while it runs, negative for a signal."""

    name: str
    host: str
    pid: int
    argv: list[str]
    exit: int | None = None


class Supervisor:
    def __init__(self, run_dir: Path, tree: Path) -> None:
        self._run_dir = run_dir
        self._processes: dict[str, Process] = {}
        kernel.mount("tmpfs", "/dev/shm", "tmpfs", data="mode=1777")
        self._tree = tree
        self._sleepers = hosts.start(tree)

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = request.pop("op", "")
        if operation == "info":
            return {"hosts": self._sleepers}
        if operation == "spawn":
            return {"pid": self._spawn(**request)}
        if operation == "signal":
            return {"sent": self._signal(**request)}
        if operation == "reboot":
            name = request.pop("host")
            host = next(host for host in topology.HOSTS if host.name == name)
            hosts.reboot(host, self._tree, self._sleepers, hosts.Setup(**request))
            self.reap()
            return {"hosts": self._sleepers}
        if operation == "ps":
            return {"processes": [asdict(process) for process in self._processes.values()]}
        raise ValueError(f"unknown operation {operation!r}")

    def reap(self) -> None:
        """Collects ended children, also orphans that the kernel gave to process 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for process in self._processes.values():
                if process.pid == pid and process.exit is None:
                    process.exit = os.waitstatus_to_exitcode(status)

    def _spawn(self, host: str, name: str, argv: list[str], env: dict[str, str], user: list[int] | None) -> int:
        known = self._processes.get(name)
        if known and known.exit is None:
            raise ValueError(f"a process named {name} is already running (pid {known.pid})")
        self._forget_oldest()
        error_read, error_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become(host, name, argv, env, user, error_write)
        os.close(error_write)
        with os.fdopen(error_read, "rb") as pipe:
            error = pipe.read().decode()
        if error:
            os.waitpid(pid, 0)
            raise ValueError(f"cannot start {argv[0]} on {host}: {error}")
        self._processes.pop(name, None)
        self._processes[name] = Process(name, host, pid, argv)
        return pid

    def _become(
        self, host: str, name: str, argv: list[str], env: dict[str, str], user: list[int] | None, errors: int
    ) -> None:
        """The forked child: onto the host, then the program. Reports through `errors`, which a good exec closes."""
        try:
            log = os.open(self._run_dir / "log" / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            null = os.open("/dev/null", os.O_RDONLY)
            for source, target in ((null, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            os.setsid()
            hosts.join(self._sleepers[host])
            if user:
                os.setgroups([])
                os.setgid(user[1])
                os.setuid(user[0])
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.execvpe(argv[0], argv, {**hosts.environment(), **env})
        except BaseException as error:  # noqa: BLE001 - a forked child must never return into the parent's code
            os.write(errors, str(error).encode())
        os._exit(127)

    def _signal(self, name: str, number: int) -> bool:
        process = self._processes.get(name)
        if process is None or process.exit is not None:
            return False
        os.kill(process.pid, number)
        return True

    def _forget_oldest(self) -> None:
        ended = [process.name for process in self._processes.values() if process.exit is not None]
        for name in ended[: max(0, len(ended) - ENDED_LIMIT + 1)]:
            del self._processes[name]


def _answer(supervisor: Supervisor, connection: socket.socket) -> None:
    """Serves one request. The peer is our own testbed.py on a local socket, so a short blocking read is fine."""
    with connection:
        connection.settimeout(5)
        try:
            with connection.makefile("rwb") as stream:
                line = stream.readline(REQUEST_LIMIT)
                if not line:
                    return
                try:
                    reply = supervisor.handle(json.loads(line))
                except Exception as error:  # noqa: BLE001 - whatever went wrong belongs to the asker
                    reply = {"error": str(error) or repr(error)}
                stream.write(json.dumps(reply).encode() + b"\n")
        except OSError:
            pass  # The asker went away or was too slow.


def _listen(run_dir: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    # Through the folder's descriptor: the path itself may be longer than the 108 bytes a unix address holds.
    folder = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY)
    (run_dir / "control.sock").unlink(missing_ok=True)
    listener.bind(f"/proc/self/fd/{folder}/control.sock")
    os.close(folder)
    listener.listen(64)
    return listener


def _serve(supervisor: Supervisor, listener: socket.socket, leashed: bool) -> None:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ, "request")
    selector.register(wake_read, selectors.EVENT_READ, "child")
    if leashed:
        selector.register(0, selectors.EVENT_READ, "leash")
    while True:
        for key, _ in selector.select():
            if key.data == "leash":
                return
            if key.data == "request":
                _answer(supervisor, listener.accept()[0])
            else:
                os.read(wake_read, 4096)
        supervisor.reap()


def main() -> int:
    run_dir, tree = Path(sys.argv[1]), Path(sys.argv[2])
    leashed = "--stay" not in sys.argv[3:]
    # Held as long as the lab lives: nobody deletes the tree under it (debs.py).
    handle = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    supervisor = Supervisor(run_dir, tree)
    _serve(supervisor, _listen(run_dir), leashed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
