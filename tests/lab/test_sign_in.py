"""People sign in with a real browser: authenticator app, recovery codes, passkeys; at their account and for a laptop.

The server has a domain name and its own authority: browsers know no passkeys for IP addresses.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest

from lab import services
from lab.chromium import Chromium, spki_digest
from lab.postern import CLIENT_SOCKET, READY_SECONDS, Postern
from lab.testbed import Lab, await_true, scratch_run_dir
from lab.topology import SERVER, SERVER_NAME

STEP_SECONDS = 30
ACCOUNT = f"https://{SERVER_NAME}/account"
SIGN_IN = f"https://{SERVER_NAME}/sign-in"


class NamedPostern(Postern):
    """Server and laptop alone: nothing is reached through them here."""

    server_place = ("--domain", SERVER_NAME)

    def log_in(self, browser: Chromium, steps: list[tuple[str, dict[str, str]]]) -> str:
        """`postern login` on the laptop; each step submits a form of the browser's page. Gives the last page's text."""
        process = self.laptop.popen(
            *("postern", "--socket", CLIENT_SOCKET, "login", self.enrolment_url),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            page, code = self.read_invitation(process)
            browser.open(page)
            browser.submit("form", {"user_code": code})
            for form, fields in steps:
                browser.submit(form, fields)
            said = browser.text()
            assert process.wait(timeout=READY_SECONDS) == 0, said
            return said
        finally:
            process.kill()
            process.wait()

    def audited(self) -> list[str]:
        return [entry["action"] for entry in self.admin("audit", "list", "--count", "1000")["audit"]]


def app_code(secret: str, off: int = 0) -> str:
    """What an authenticator app shows (RFC 6238), `off` steps from now."""
    key = base64.b32decode(secret.replace(" ", ""))
    step = int(time.time()) // STEP_SECONDS + off
    mac = hmac.new(key, struct.pack(">Q", step), "sha1").digest()
    number = struct.unpack_from(">I", mac, mac[-1] & 15)[0] & 0x7FFFFFFF
    return f"{number % 10**6:06d}"


@pytest.fixture(scope="module")
def named(request: pytest.FixtureRequest) -> Iterator[NamedPostern]:
    lab = Lab.start(scratch_run_dir("test"))
    try:
        services.start_dns(lab)
        running = NamedPostern(lab)
        running.init_server()
        running.serve()
        password = running.password_file("user", running.user_password)
        running.admin("user", "add", running.user_email, "--password-file", password)
        running.start_client()
        yield running
    finally:
        lab.down()
        if not request.session.testsfailed:
            shutil.rmtree(lab.run_dir, ignore_errors=True)


@pytest.fixture
def browser(named: NamedPostern) -> Iterator[Chromium]:
    running = Chromium(named.laptop, spki_digest(named.laptop, SERVER, SERVER_NAME))
    yield running
    running.close()
    named.admin("user", "reset-mfa", named.user_email)


def _password(named: NamedPostern) -> dict[str, str]:
    return {"email": named.user_email, "password": named.user_password}


def _sign_in(named: NamedPostern, browser: Chromium) -> None:
    browser.open(SIGN_IN)
    browser.submit("form", _password(named))


def _set_up_app(browser: Chromium) -> tuple[str, list[str]]:
    """The secret, as the page shows it, and the recovery codes."""
    browser.open(f"{ACCOUNT}/app")
    assert browser.evaluate("document.querySelector('svg.qr').getBoundingClientRect().width") > 100
    secret = str(browser.evaluate("document.querySelector('code').innerText"))
    browser.submit("form", {"code": app_code(secret)})
    codes = re.findall(r"\b[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}\b", browser.text())
    assert len(codes) == 10, browser.text()
    return secret, codes


def test_an_app_is_asked_for_and_its_code_is_good_once_also_when_the_server_is_killed(
    named: NamedPostern, browser: Chromium
) -> None:
    _sign_in(named, browser)
    assert browser.path() == "/account"
    secret, recovery = _set_up_app(browser)
    used = app_code(secret, 1)
    said = named.log_in(browser, [("form", _password(named)), ("form", {"code": used})])
    assert "is signed in" in said
    named.kill_server()
    named.serve()
    _sign_in(named, browser)
    assert "One more step" in browser.text()
    browser.submit("form", {"code": used})
    assert "used already" in browser.text()
    browser.submit("form", {"code": recovery[0].lower()})
    assert browser.path() == "/account" and "9 are left" in browser.text()
    assert {"user.add_app", "user.use_recovery_code"} <= set(named.audited())


def test_an_admin_takes_a_lost_app_away(named: NamedPostern, browser: Chromium) -> None:
    _sign_in(named, browser)
    _set_up_app(browser)
    named.admin("user", "reset-mfa", named.user_email)
    browser.open(ACCOUNT)
    assert browser.path() == "/sign-in"
    browser.submit("form", _password(named))
    assert browser.path() == "/account"
    assert named.audited()[0] == "user.reset_mfa"


def test_a_passkey_signs_in_alone_and_as_the_second_step(named: NamedPostern, browser: Chromium) -> None:
    fingerprint = browser.add_authenticator()
    _sign_in(named, browser)
    browser.submit("form[data-passkey]")
    assert "Recovery codes" in browser.text()
    (credential,) = browser.credentials(fingerprint)
    assert credential["isResidentCredential"] and credential["rpId"] == SERVER_NAME

    browser.open(ACCOUNT)
    browser.submit("form[action='/sign-out']")
    assert browser.path() == "/sign-in"
    browser.submit("form[data-passkey]")
    assert browser.path() == "/account" and "last used" in browser.text()

    browser.submit("form[action='/sign-out']")
    browser.submit("form", _password(named))
    assert "Use your passkey" in browser.text()
    browser.submit("form[data-passkey]")
    assert browser.path() == "/account"
    assert "user.add_passkey" in named.audited()


def test_a_laptop_is_signed_in_with_a_passkey_alone(named: NamedPostern, browser: Chromium) -> None:
    browser.add_authenticator()
    _sign_in(named, browser)
    browser.submit("form[data-passkey]")
    said = named.log_in(browser, [("form[data-passkey]", {})])
    assert "is signed in" in said
    assert json.loads(named.client("status", "--json").stdout)["account"] == named.user_email


def test_a_passkey_whose_person_is_not_verified_does_not_sign_in(named: NamedPostern, browser: Chromium) -> None:
    fingerprint = browser.add_authenticator()
    _sign_in(named, browser)
    browser.submit("form[data-passkey]")
    browser.open(ACCOUNT)
    browser.submit("form[action='/sign-out']")
    browser.set_user_verified(fingerprint, verified=False)
    browser.evaluate("document.querySelector('form[data-passkey] button').click()")
    problem = "document.querySelector('[data-problem]').innerText"
    said = await_true("the page says why", lambda: browser.evaluate(problem), 10)
    assert "The passkey was not used" in said
    assert browser.path() == "/sign-in"
