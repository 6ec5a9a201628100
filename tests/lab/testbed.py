"""The outside of a lab: start one, attach to a running one, run commands on its hosts, stop it.

Commands enter a host with nsenter, so they have the caller's terminal and their exit code passes through; they also
join the lab's PID namespace and die with it. Long-running processes are children of the lab's process 1 instead
(`spawn`) and stay when the caller leaves.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from . import debs, hosts
from .paths import BIN, LAB, REPO
from .topology import HOST_NAMES

START_SECONDS = 30.0
COMMAND_SECONDS = 30.0

T = TypeVar("T")
_PAUSE = threading.Event()
"""Never set: waiting for it is the pause between two looks at a condition."""


class LabError(Exception):
    """Something about the lab itself went wrong; the message says what."""


class CommandFailed(LabError):
    """A command on a lab host ended with another code than 0."""

    def __init__(self, host: str, result: subprocess.CompletedProcess[str]) -> None:
        output = (result.stdout + result.stderr).strip()
        command = " ".join(" ".join(result.args).split())[:300]
        super().__init__(f"{host}: `{command}` exited with {result.returncode}:\n{output[-2000:]}")
        self.result = result


def await_true(what: str, probe: Callable[[], T], seconds: float, every: float = 0.02) -> T:
    """Waits until `probe` returns something true and returns it. Raises LabError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} s in vain until {what}")
        _PAUSE.wait(every)


def read_line(process: subprocess.Popen[str], seconds: float) -> str:
    """The next line of a program's standard output. A program that says nothing for so long is killed, and that is "".

    A timer and not select(): what Python has already buffered would not wake select.
    """
    assert process.stdout is not None
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()


class Host:
    """One host of a lab."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name

    def run(
        self,
        *argv: str,
        check: bool = True,
        seconds: float = COMMAND_SECONDS,
        text: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end. Raises CommandFailed unless `check` is off; too slow is always an error."""
        entered = self.lab.enter(self.name, argv)
        try:
            result = subprocess.run(
                entered,
                input=text,
                stdin=subprocess.DEVNULL if text is None else None,
                text=True,
                capture_output=True,
                timeout=seconds,
                check=False,
                env=_environment(env),
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: `{' '.join(argv)}` did not end within {seconds:g} s") from None
        result.args = list(argv)
        if check and result.returncode != 0:
            raise CommandFailed(self.name, result)
        return result

    def output(self, *argv: str, **options: Any) -> str:
        """Standard output of a command, without the white space around it."""
        return self.run(*argv, **options).stdout.strip()

    def popen(self, *argv: str, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """Starts a command and returns at once. Killing the returned process kills the command."""
        entered = self.lab.enter(self.name, argv)
        return subprocess.Popen(entered, text=True, env=_environment(env), **options)

    def spawn(
        self,
        name: str,
        *argv: str,
        env: Mapping[str, str] | None = None,
        user: tuple[int, int] | None = None,
    ) -> int:
        """Starts a process that belongs to the lab, under a name; its output goes to the log of that name."""
        request = {"op": "spawn", "host": self.name, "name": name, "argv": list(argv)}
        return int(self.lab.ask({**request, "env": dict(env or {}), "user": user})["pid"])


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    return {**hosts.environment(), "TERM": os.environ.get("TERM", "dumb"), **(extra or {})}


class Lab:
    """A running lab. Make one with `start` or `attach`."""

    def __init__(self, run_dir: Path, init_pid: int) -> None:
        self.run_dir = run_dir
        self.init_pid = init_pid
        self._unshare: subprocess.Popen[bytes] | None = None
        self._sleepers: dict[str, int] = {}

    @classmethod
    def start(cls, run_dir: Path, stay: bool = False) -> Lab:
        """Starts an empty lab: hosts, links and rules, no services. With `stay` it outlives this process."""
        if os.geteuid() != 0:
            raise LabError("the lab makes network namespaces and needs root: run it as root or with sudo")
        tree = debs.ensure_tree()
        if running := _find_init(run_dir):
            raise LabError(f"a lab is already running in {run_dir} (pid {running}); stop it with `./dev lab down`")
        shutil.rmtree(run_dir, ignore_errors=True)
        (run_dir / "log").mkdir(parents=True)
        BIN.mkdir(parents=True, exist_ok=True)  # So that a lab can start before the first build.
        (run_dir / "nonce").write_text(secrets.token_hex(16), encoding="ascii")
        lab = cls(run_dir, 0)
        lab._launch(tree, stay)
        return lab

    @classmethod
    def attach(cls, run_dir: Path) -> Lab:
        """Finds the lab that runs in `run_dir`."""
        pid = _find_init(run_dir)
        if pid is None:
            raise LabError("no lab is running; start one with `./dev lab up`")
        lab = cls(run_dir, pid)
        lab._sleepers = lab.ask({"op": "info"})["hosts"]
        return lab

    def host(self, name: str) -> Host:
        if name not in HOST_NAMES:
            raise LabError(f"the lab has no host {name!r}; its hosts are {', '.join(HOST_NAMES)}")
        return Host(self, name)

    @property
    def nonce(self) -> str:
        """A random text made for this run; each service answers with it, so no stale answer can pass for a new one."""
        return (self.run_dir / "nonce").read_text("ascii")

    def log(self, name: str) -> str:
        """What a spawned process has written so far."""
        path = self.run_dir / "log" / f"{name}.log"
        return path.read_text("utf-8", errors="replace") if path.exists() else ""

    def enter(self, host: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on a host from outside the lab."""
        lab_proc = f"/proc/{self.init_pid}/root/proc/{self._sleepers[self.host(host).name]}/ns"
        kinds = [f"--{kind}={lab_proc}/{file}" for kind, file in (("net", "net"), ("uts", "uts"), ("mount", "mnt"))]
        lab_wide = [f"--{kind}=/proc/{self.init_pid}/ns/{kind}" for kind in ("pid", "ipc")]
        return ["nsenter", *kinds, *lab_wide, "--", "setpriv", "--pdeathsig", "KILL", "--", *argv]

    def pids(self) -> dict[str, int]:
        """By host, a process (in the lab's numbers) that lives in its namespaces."""
        return dict(self._sleepers)

    def processes(self) -> dict[str, dict[str, Any]]:
        """Spawned processes by name: host, pid (in the lab), argv, exit (None while running)."""
        return {entry["name"]: entry for entry in self.ask({"op": "ps"})["processes"]}

    def is_running(self, name: str) -> bool:
        process = self.processes().get(name)
        return process is not None and process["exit"] is None

    def send_signal(self, name: str, number: int) -> bool:
        """Sends a signal to a spawned process; False when it does not run."""
        return bool(self.ask({"op": "signal", "name": name, "number": int(number)})["sent"])

    def stop(self, name: str, number: int = signal.SIGTERM, seconds: float = 10.0) -> int | None:
        """Ends a spawned process and waits for it; returns its exit code, None if it was never there."""
        self.send_signal(name, number)
        try:
            await_true(f"{name} ended", lambda: not self.is_running(name), seconds)
        except LabError:
            self.send_signal(name, signal.SIGKILL)
            raise
        return self.processes().get(name, {}).get("exit")

    def reboot(self, host: str, package: str = "", wipe: bool = False) -> None:
        """Pulls the plug of a host and starts it again; hosts.Setup says what the options mean. Nothing runs on it."""
        answer = self.ask({"op": "reboot", "host": host, "package": package, "wipe": wipe}, seconds=START_SECONDS)
        self._sleepers = answer["hosts"]

    def ask(self, request: dict[str, Any], seconds: float = 10.0) -> dict[str, Any]:
        """One request to the lab's process 1."""
        connection = socket.socket(socket.AF_UNIX)
        with connection:
            connection.settimeout(seconds)
            folder = os.open(self.run_dir, os.O_RDONLY | os.O_DIRECTORY)
            try:
                connection.connect(f"/proc/self/fd/{folder}/control.sock")
            finally:
                os.close(folder)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        if not line:
            raise LabError("the lab closed the control connection without an answer")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise LabError(reply["error"])
        return reply

    def down(self) -> None:
        """Kills the lab; everything in it ends at once and nothing is left but the logs."""
        try:
            os.kill(self.init_pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if self._unshare:
            self._unshare.wait(timeout=START_SECONDS)
        await_true("the lab has ended", lambda: _find_init(self.run_dir) is None, START_SECONDS)

    def _launch(self, tree: Path, stay: bool) -> None:
        python = ["/usr/bin/python3", "-m", "lab.init", str(self.run_dir), str(tree), *(["--stay"] if stay else [])]
        with open(self.run_dir / "log" / "init.log", "wb") as log:
            # The pipe of stdin is the leash (init.py): it ends when this process does, and then so does the lab.
            self._unshare = subprocess.Popen(
                ["unshare", "-n", "-m", "-p", "-i", "--fork", "--kill-child", "--mount-proc", *python],
                stdin=subprocess.DEVNULL if stay else subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={**os.environ, "PYTHONPATH": str(REPO / "tests"), "PYTHONDONTWRITEBYTECODE": "1"},
            )
        try:
            await_true("the lab has started", self._is_up, START_SECONDS)
        except LabError:
            self._unshare.kill()
            self._unshare.wait()
            raise
        self._sleepers = self.ask({"op": "info"})["hosts"]

    def _is_up(self) -> bool:
        assert self._unshare is not None
        if self._unshare.poll() is not None:
            raise LabError(f"the lab could not start:\n{self.log('init').strip()[-2000:]}")
        self.init_pid = _find_init(self.run_dir) or 0
        return self.init_pid != 0 and (self.run_dir / "control.sock").exists()


def _find_init(run_dir: Path) -> int | None:
    """The process id of the lab's process 1 as seen here, found by its command line: no file to go stale."""
    wanted = ["-m", "lab.init", str(run_dir)]
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if argv[1:4] != wanted:
                continue
            status = (folder / "status").read_text("utf-8")
        except OSError:
            continue
        inside = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
        if inside[-1] == "1":
            return int(folder.name)
    return None


def scratch_run_dir(purpose: str) -> Path:
    """A fresh run folder for a lab that is not the `./dev lab up` one; old ones of ended processes are removed."""
    for old in LAB.glob(f"{purpose}-*"):
        owner = old.name.rsplit("-", 2)[-2]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(old, ignore_errors=True)
    path = LAB / f"{purpose}-{os.getpid()}-{secrets.token_hex(3)}"
    path.mkdir(parents=True)
    return path


def say(text: str) -> None:
    """One line of progress on stderr, so that stdout stays for results."""
    print(text, file=sys.stderr, flush=True)
