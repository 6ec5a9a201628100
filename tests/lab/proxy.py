"""Postern without rights: a person's own proxy on the laptop, run by a user who has no capability."""

from __future__ import annotations

import json
from typing import Any

from .postern import Postern
from .testbed import LabError, await_true

USER = (4242, 4242)
"""A user of the laptop who is in no group and owns nothing but his home folder."""
HOME = "/run/person"
SOCKET = f"{HOME}/run/postern/posternd.sock"
PORT = 1080
READY_SECONDS = 20.0


class OwnProxy:
    """`postern proxy` of a plain user on the laptop."""

    def __init__(self, postern: Postern, name: str = "postern-proxy") -> None:
        self.postern = postern
        self.laptop = postern.laptop
        self.name = name

    def environment(self) -> dict[str, str]:
        return {"HOME": HOME, "XDG_RUNTIME_DIR": f"{HOME}/run", "XDG_STATE_HOME": f"{HOME}/state"}

    def as_user(self, *argv: str) -> list[str]:
        """A command of that user: no capability, and no way to get one."""
        ids = [f"--reuid={USER[0]}", f"--regid={USER[1]}", "--clear-groups"]
        return ["setpriv", *ids, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--", *argv]

    def run(self, *argv: str, **options: Any) -> Any:
        return self.laptop.run(*self.as_user(*argv), env=self.environment(), **options)

    def prepare(self) -> None:
        self.laptop.run("install", "-d", "-m", "700", "-o", str(USER[0]), "-g", str(USER[1]), HOME, f"{HOME}/run")

    def start(self, *options: str, url: str = "") -> None:
        """Starts it; with the enrolment URL also signs the user in, as a person would. Returns when it is online."""
        command = ["postern", "proxy", "--listen", str(PORT), "--log-level", "info", *options]
        before = len(self.postern.lab.log(self.name))
        self.laptop.spawn(self.name, *self.as_user(*command, *([url] if url else [])), env=self.environment())
        if url:
            self._sign_in(before)
        self.await_online()

    def _sign_in(self, before: int) -> None:
        said = lambda: self.postern.read_invitation_text(self.postern.lab.log(self.name)[before:])  # noqa: E731
        page, code = await_true("the proxy shows page and code", said, READY_SECONDS)
        self.postern.sign_in(page, code, self.postern.user_email, self.postern.user_password)

    def await_online(self) -> None:
        def is_online() -> bool:
            if not self.postern.lab.is_running(self.name):
                raise LabError(f"{self.name} ended:\n{self.postern.lab.log(self.name)[-2000:]}")
            return self.run("postern", "status", "--short", check=False).stdout.strip() == "online"

        await_true("the proxy is online", is_online, READY_SECONDS)

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.run("postern", "status", "--json").stdout)
        return answer

    def curl(self, *words: str, check: bool = True, proxy: str = f"socks5h://127.0.0.1:{PORT}") -> Any:
        return self.run("curl", "-sS", "--max-time", "20", "--proxy", proxy, *words, check=check, seconds=30)
