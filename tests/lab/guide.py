"""Runs the command blocks of a guide, as they stand there, on the lab's hosts.

A block is marked by a comment that readers do not see:

    <!-- run on HOST[ for VARIANT][, sign in][, stays][ until WORD][, last] -->

`for` chooses between alternatives of the text, `until` repeats the block until it prints the word, `sign in` is a block
that waits for a person in a browser, `stays` one that goes on after it has printed the word, `last` is run by whoever
asks for it. A person replaces each `…` by something that
was printed before; so do we, and a `…` that nothing printed before explains is an error of the guide.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .paths import REPO
from .testbed import Host, Lab, LabError, await_true, read_line

BLOCK_SECONDS = 60.0
UNTIL_SECONDS = 30.0
# We are root already.
_PRELUDE = """
set -e
sudo() {{ "$@"; }}
export PATH={path} USER=me HOME=/run/home
cd /run/home
"""
_BLOCK = re.compile(r"<!-- run on ([^>]*) -->\n+```sh\n(.*?)```", re.S)
_MARK = re.compile(r"(\S+?)(?: for (\w+))?(, sign in)?(, stays)?(?: until (\w+))?(, last)?")


@dataclass(frozen=True)
class Block:
    host: str
    variant: str
    signs_in: bool
    stays: bool
    until: str
    last: bool
    text: str


def blocks(file: Path) -> list[Block]:
    """All blocks of a file, in order. A block of commands without a mark is an error: it would rot unseen."""
    text = file.read_text("utf-8")
    if text.count("```sh") != len(_BLOCK.findall(text)):
        raise LabError(f"{file.name} has a block of commands that is not marked with the host to run it on")
    found = []
    for mark, commands in _BLOCK.findall(text):
        words = _MARK.fullmatch(mark)
        if not words:
            raise LabError(f"{file.name}: the mark `{mark}` is not understood")
        host, variant, signs_in, stays, until, last = words.groups(default="")
        found.append(Block(host, variant, bool(signs_in), bool(stays), until, bool(last), commands))
    return found


class Reader:
    """A person who follows a guide: types the blocks, remembers what was printed, and has a browser at the laptop."""

    email = "you@example.org"
    password = "correct horse battery"

    def __init__(self, lab: Lab, hosts: Mapping[str, Host], path: str, ca_pem: str = "") -> None:
        self._lab = lab
        self._hosts = hosts
        self._prelude = _PRELUDE.format(path=path)
        self._ca_pem = ca_pem
        self._staying: list[subprocess.Popen[str]] = []
        self._has_password = False
        self.printed = ""

    def follow(self, block: Block) -> None:
        if block.signs_in:
            self._choose_password()
            self._sign_in(block)
        elif block.stays:
            self._start(block)
        elif block.until:
            what = f"the guide's `{block.text.strip()}` says {block.until}"
            await_true(what, lambda: block.until in self._run(block, check=False), UNTIL_SECONDS, every=0.2)
        else:
            self._run(block)

    def _run(self, block: Block, check: bool = True) -> str:
        result = self._hosts[block.host].run(*self._script(block), check=check, seconds=BLOCK_SECONDS)
        self.printed += result.stdout
        return result.stdout

    def _start(self, block: Block) -> None:
        """The last command of the block stays, as in a terminal of its own."""
        log = self._lab.run_dir / "log" / f"terminal-{len(self._staying)}.log"
        with open(log, "w", encoding="utf-8") as file:
            process = self._hosts[block.host].popen(*self._script(block), stdout=file, stderr=file)
        self._staying.append(process)

        def says_it() -> bool:
            if process.poll() is not None:
                raise LabError(f"the guide's `{block.text.strip()}` ended: {log.read_text('utf-8')}")
            return block.until in log.read_text("utf-8")

        await_true(f"the guide's `{block.text.strip()}` says {block.until}", says_it, UNTIL_SECONDS)
        self.printed += log.read_text("utf-8")

    def _choose_password(self) -> None:
        """With the link that init printed, in the browser."""
        if self._has_password:
            return
        link = re.findall(r"https://\S+/setup\S*", self.printed)[-1]
        self._browse(link, {"password": self.password, "again": self.password})
        self._has_password = True

    def _sign_in(self, block: Block) -> None:
        """A block that prints a page and a code, and waits until somebody has signed in there."""
        login = self._hosts[block.host].popen(*self._script(block), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            page = code = None
            said = ""
            while not (page and code) and (line := read_line(login, UNTIL_SECONDS)):
                said += line
                page, code = re.search(r"https://\S+/device", said), re.search(r"\b[A-Z]{4}-[A-Z]{4}\b", said)
            if not (page and code):
                raise LabError(f"`{block.text.strip()}` printed no page and code:\n{said}")
            answers = {"user_code": code.group(), "email": self.email, "password": self.password}
            self._browse(page.group(), answers)
            rest, _ = login.communicate(timeout=UNTIL_SECONDS)
            if login.returncode != 0:
                raise LabError(f"`{block.text.strip()}` ended with {login.returncode}:\n{said}{rest}")
        finally:
            login.kill()
            login.wait()

    def _browse(self, page: str, answers: dict[str, str]) -> None:
        orders = json.dumps({"ca_pem": self._ca_pem or self._own_ca(), "answers": answers})
        program = str(REPO / "tests/lab/browser.py")
        self._lab.host("laptop").run("/usr/bin/python3", "-B", program, page, text=orders, seconds=60)

    def _own_ca(self) -> str:
        """A person would accept the browser's warning; the browser of the lab is told the server's authority."""
        show = self._prelude + "postern-server admin --json network show"
        self._ca_pem = str(json.loads(self._hosts["server"].output("sh", "-c", show))["ca_pem"])
        return self._ca_pem

    def _script(self, block: Block) -> list[str]:
        return ["sh", "-c", self._prelude + self._filled(block.text)]

    def _filled(self, text: str) -> str:
        filled = re.sub(r"(\w+=)…", lambda match: match.group(1) + self._value(match.group(1)), text)
        if "…" in filled:
            raise LabError(f"the guide does not say where this value comes from:\n{filled}")
        return filled

    def _value(self, name: str) -> str:
        found = re.findall(re.escape(name) + r"([^\s'\"]+)", self.printed)
        if not found:
            raise LabError(f"nothing that was printed so far has a value for {name}…")
        return str(found[-1])
