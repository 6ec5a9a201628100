"""A real browser on a lab host: Debian's Chromium without a window, driven over its DevTools pipe.

It is large, so only the tests that want it fetch it: unpacked under build/lab beside the lab's own programs, never
installed (debs.py). Its virtual authenticator stands for a laptop's fingerprint reader.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import subprocess
import threading
from collections.abc import Mapping
from typing import Any

from . import debs
from .testbed import Host, LabError

SECONDS = 30.0
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


def spki_digest(host: Host, server: str, name: str) -> str:
    """Of the certificate that the server shows: base64 of the SHA-256 of its key, as Chromium wants it."""
    script = (
        f"openssl s_client -connect {server}:443 -servername {name} </dev/null 2>/dev/null"
        " | openssl x509 -noout -pubkey | openssl pkey -pubin -outform der | base64 -w0"
    )
    der = base64.b64decode(host.output("sh", "-c", script))
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


class Chromium:
    """One browser with one page. `trusted` is the digest of a key whose certificate it takes."""

    def __init__(self, host: Host, trusted: str) -> None:
        self._next = 0
        self._events: list[dict[str, Any]] = []
        self._process = _start(host, trusted)
        target = self._call("Target.createTarget", {"url": "about:blank"}, session=None)["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, session=None)
        self._session = str(attached["sessionId"])
        for domain in ("Page", "Runtime"):
            self._call(f"{domain}.enable")
        self._call("Emulation.setFocusEmulationEnabled", {"enabled": True})  # passkeys want a page in front

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def open(self, url: str) -> None:
        self._events.clear()
        opened = self._call("Page.navigate", {"url": url})
        if error := opened.get("errorText"):
            raise LabError(f"the browser cannot open {url}: {error}")
        self._await_event("Page.loadEventFired")

    def evaluate(self, script: str) -> Any:
        """The value of an expression on the page."""
        arguments = {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self._call("Runtime.evaluate", arguments)
        if "exceptionDetails" in answer:
            raise LabError(f"the page's script failed: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def text(self) -> str:
        return str(self.evaluate("document.body.innerText"))

    def path(self) -> str:
        return str(self.evaluate("location.pathname"))

    def submit(self, form: str, fields: Mapping[str, str] | None = None) -> None:
        """Types into the form that this selector finds, presses its first button, and waits for the next page."""
        self._events.clear()
        script = f"""(() => {{
          const form = document.querySelector({json.dumps(form)});
          for (const [name, value] of Object.entries({json.dumps(dict(fields or {}))})) form.elements[name].value = value;
          form.querySelector("button").click();
        }})()"""
        self.evaluate(script)
        self._await_event("Page.loadEventFired")

    def add_authenticator(self) -> str:
        self._call("WebAuthn.enable")
        return str(self._call("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})["authenticatorId"])

    def credentials(self, authenticator: str) -> list[dict[str, Any]]:
        found = self._call("WebAuthn.getCredentials", {"authenticatorId": authenticator})["credentials"]
        return list(found)

    def set_user_verified(self, authenticator: str, verified: bool) -> None:
        self._call("WebAuthn.setUserVerified", {"authenticatorId": authenticator, "isUserVerified": verified})

    # --- the pipe ----------------------------------------------------------------------------------------------------

    def _call(self, method: str, params: Mapping[str, Any] | None = None, session: str | None = "") -> dict[str, Any]:
        self._next += 1
        message: dict[str, Any] = {"id": self._next, "method": method, "params": dict(params or {})}
        if session is not None:
            message["sessionId"] = self._session
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\0")
        self._process.stdin.flush()
        while True:
            answer = self._read(method)
            if answer.get("id") != self._next:
                self._events.append(answer)
                continue
            if "error" in answer:
                raise LabError(f"{method}: {answer['error']}")
            return dict(answer["result"])

    def _await_event(self, name: str) -> None:
        while not any(event.get("method") == name for event in self._events):
            self._events.append(self._read(name))

    def _read(self, what: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        timer = threading.Timer(SECONDS, self._process.kill)
        timer.start()
        try:
            text = ""
            while (letter := self._process.stdout.read(1)) not in ("", "\0"):
                text += letter
        finally:
            timer.cancel()
        if letter == "":
            raise LabError(f"the browser ended, or said nothing for {SECONDS:g} s, at {what}")
        return dict(json.loads(text))


def _start(host: Host, trusted: str) -> subprocess.Popen[str]:
    tree = debs.browser_tree()
    profile = f"/tmp/chromium-{host.name}"
    folder = tree / "usr/lib/x86_64-linux-gnu"
    libraries = [folder, folder / "nss", folder / "pulseaudio"]
    options = [
        "--headless=new",
        "--no-sandbox",  # the lab's hosts are sandboxes already, and have no user namespaces to give
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
        f"--ignore-certificate-errors-spki-list={trusted}",
        "about:blank",
    ]
    program = shlex.join([str(tree / "usr/lib/chromium/chromium"), *options])
    # DevTools speaks on descriptors 3 and 4, messages with a zero byte behind them.
    script = f"rm -rf {profile}; exec {program} 3<&0 4>&1 >{profile}.log 2>&1 </dev/null"
    environment = {
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "FONTCONFIG_PATH": str(tree / "etc/fonts"),
        "HOME": profile,
    }
    return host.popen("sh", "-c", script, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
