"""Flows whose life can be watched."""

from __future__ import annotations

import subprocess
import time

from . import services
from .postern import Postern
from .testbed import read_line

LINE_SECONDS = 20.0


class LiveShell:
    """An ssh session that stays open and answers each line."""

    def __init__(self, postern: Postern) -> None:
        command = services.ssh_command(postern.lab, "ssh.home.lan", "cat")
        self._process = postern.laptop.popen(
            *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1
        )

    def write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def reads(self, seconds: float = LINE_SECONDS) -> str:
        return read_line(self._process, seconds).strip()

    def echoes(self, line: str, seconds: float = LINE_SECONDS) -> bool:
        self.write(line)
        return self.reads(seconds) == line

    def round_trip(self, line: str) -> float:
        """Seconds until the line came back."""
        started = time.monotonic()
        assert self.echoes(line)
        return time.monotonic() - started

    def ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
