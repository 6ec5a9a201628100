"""A server with a certificate of a public authority: the whole journey, taking over a renewed one, and bad files."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import services
from lab.authority import Authority
from lab.postern import Postern
from lab.test_bad_input import GIVE_UP_SECONDS, expect
from lab.testbed import Lab, await_true, scratch_run_dir
from lab.topology import SERVER, SERVER_NAME

SPARE_STATE = "/var/lib/spare"


class PublicPostern(Postern):
    """Its server has the files `live.pem` and `live.key` of the authority."""

    server_place = ("--domain", SERVER_NAME)

    def __init__(self, lab: Lab, authority: Authority) -> None:
        super().__init__(lab)
        self.authority = authority
        self.live = authority.issue("live", SERVER_NAME)
        self.serve_options = ("--certificate", self.live[0], "--key", self.live[1])

    def reload_with(self, cert: str, key: str) -> str:
        """Puts other files in place of the live ones, tells the server; returns what it then adds to its log."""
        before = len(self.lab.log("postern-server"))
        for source, target in ((cert, self.live[0]), (key, self.live[1])):
            Path(target).write_bytes(Path(source).read_bytes())
        self.lab.send_signal("postern-server", signal.SIGHUP)
        words = ("New connections get the new certificate", "The certificate stays as it is")
        await_true("the server has read the files", lambda: any(word in self.said(before) for word in words), 10)
        return self.said(before)

    def said(self, since: int) -> str:
        return self.lab.log("postern-server")[since:]

    def shown_serial(self) -> int:
        """Of the certificate that a new connection gets."""
        script = f"openssl s_client -connect {SERVER}:443 </dev/null 2>/dev/null | openssl x509 -noout -serial"
        return int(self.laptop.output("sh", "-c", script).removeprefix("serial="), 16)


@pytest.fixture(scope="module")
def public(request: pytest.FixtureRequest) -> Iterator[PublicPostern]:
    lab = Lab.start(scratch_run_dir("test"))
    try:
        services.start_dns(lab)
        services.start_nginx(lab)
        authority = Authority(lab)
        authority.be_trusted(lab, "laptop", "connector")
        running = PublicPostern(lab, authority)
        running.start_all()
        yield running
    finally:
        lab.down()
        if not request.session.testsfailed:
            shutil.rmtree(lab.run_dir, ignore_errors=True)


def _fetch(public: PublicPostern) -> str:
    return public.laptop.output("curl", "-sS", "-m", "20", "http://nginx.home.lan/nonce")


def test_a_page_is_reached_and_nothing_pins_the_servers_own_authority(public: PublicPostern) -> None:
    assert _fetch(public) == public.lab.nonce
    network = public.admin("network", "show")
    assert network["enrolment_url"].rstrip("/") == f"https://{SERVER_NAME}"
    assert not network["ca_pem"]


@pytest.mark.parametrize("shift", ["-3y", "+3y"])
def test_doctor_says_that_the_clock_is_why_the_certificate_is_not_valid(public: PublicPostern, shift: str) -> None:
    asked = public.laptop.run("faketime", "-f", shift, "postern", "doctor", "--json", check=False, seconds=60)
    checks = {check["id"]: check for check in json.loads(asked.stdout)["checks"]}
    assert (checks["clock"]["level"], checks["server-tcp"]["level"]) == ("fail", "fail"), checks
    assert "timedatectl" in checks["clock"]["fix"]
    assert asked.returncode != 0


def test_a_client_whose_host_does_not_know_the_authority_refuses(public: PublicPostern) -> None:
    lab = public.lab
    for folder in ("/run/stranger", "/var/lib/stranger"):
        lab.host("db").run("install", "-d", folder)
    socket = "/run/stranger/posternd.sock"
    lab.host("db").spawn("stranger", "posternd", "--state", "/var/lib/stranger", "--socket", socket, "--tun", "other0")
    asked = ["postern", "--socket", socket, "status"]
    await_true("it answers", lambda: lab.host("db").run(*asked, check=False).returncode == 0, 10)
    login = ["postern", "--socket", socket, "login", SERVER_NAME]
    line = expect(lab.host("db").run(*login, check=False, seconds=GIVE_UP_SECONDS), "ServerNotTrusted")
    assert SERVER_NAME in line


def test_a_renewed_certificate_is_taken_over_while_a_transfer_goes_on(public: PublicPostern) -> None:
    before = public.shown_serial()
    slow = public.laptop.popen(
        *("curl", "-sS", "-m", "60", "-r", "0-30000000", "-o", "/dev/null", "-w", "%{size_download}"),
        "http://nginx.home.lan/slow",
        stdout=subprocess.PIPE,
    )
    said = public.reload_with(*public.authority.issue("renewed", SERVER_NAME))
    assert "The certificate stays as it is" not in said
    assert public.shown_serial() == before + 1
    assert slow.communicate(timeout=90)[0] == "30000001"
    assert public.status_word() == "online"


# --- files that cannot be used ---------------------------------------------------------------------------------------

Files = tuple[str, str]


def _good(authority: Authority) -> Files:
    return authority.path("good.pem"), authority.path("good.key")


def _copy(authority: Authority, name: str, content: str, mode: int = 0o600) -> str:
    path = Path(authority.path(name))
    path.unlink(missing_ok=True)
    path.write_text(content, "ascii")
    path.chmod(mode)
    return str(path)


def _with_passphrase(authority: Authority) -> Files:
    locked = authority.path("locked.key")
    words = ["openssl", "ec", "-in", _good(authority)[1], "-aes256", "-passout", "pass:secret", "-out", locked]
    subprocess.run(words, check=True, capture_output=True)
    Path(locked).chmod(0o600)
    return _good(authority)[0], locked


def _open_key(authority: Authority) -> Files:
    return _good(authority)[0], _copy(authority, "open.key", Path(_good(authority)[1]).read_text("ascii"), 0o644)


BAD_FILES: dict[str, tuple[Callable[[Authority], Files], str, str]] = {
    "missing certificate": (lambda a: (a.path("none.pem"), _good(a)[1]), "Usage", "none.pem"),
    "missing key": (lambda a: (_good(a)[0], a.path("none.key")), "Usage", "none.key"),
    "a folder": (lambda a: (a.path("."), _good(a)[1]), "Usage", "authority"),
    "empty": (lambda a: (_copy(a, "empty.pem", ""), _good(a)[1]), "Usage", "empty.pem holds no certificate"),
    "too large": (lambda a: (_copy(a, "large.pem", "x" * 300_000), _good(a)[1]), "Usage", "larger than"),
    "swapped": (lambda a: (_good(a)[1], _good(a)[0]), "NotPermitted", "chmod 600"),
    "key for everybody": (_open_key, "NotPermitted", "chmod 600"),
    "passphrase": (_with_passphrase, "Usage", "passphrase"),
    "expired": (lambda a: a.issue("old", SERVER_NAME, from_day=-60), "Usage", "expired on"),
    "not yet valid": (lambda a: a.issue("early", SERVER_NAME, from_day=+5), "Usage", "clock"),
    "another name": (lambda a: a.issue("other", "other.example.org"), "Usage", "is for other.example.org, but"),
    "another key": (lambda a: (_good(a)[0], a.issue("mine", SERVER_NAME)[1]), "Usage", "is not the key of"),
}


@pytest.fixture(scope="module")
def spare(public: PublicPostern) -> Authority:
    """The authority, once there is a second Network on the server's host, whose server does not run."""
    who = ["--network", "spare", *PublicPostern.server_place, "--admin-email", "a@example.org"]
    public.server.run("postern-server", "init", "--state", SPARE_STATE, *who)
    public.authority.issue("good", SERVER_NAME)
    return public.authority


def _serve(public: PublicPostern, *options: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    where = ["--state", SPARE_STATE, "--listen", "127.0.0.1:8443", "--admin-socket", "/run/spare/admin.sock"]
    return public.server.run(*prefix, "postern-server", "serve", *where, *options, check=False, seconds=GIVE_UP_SECONDS)


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_server_does_not_start_with_files_that_agents_would_refuse(
    public: PublicPostern, spare: Authority, name: str
) -> None:
    make, code, words = BAD_FILES[name]
    cert, key = make(spare)
    line = expect(_serve(public, "--certificate", cert, "--key", key), code)
    assert re.search(words, line), line


def test_a_server_says_that_it_may_not_read_a_file(public: PublicPostern, spare: Authority) -> None:
    public.server.run("chown", "-R", "992:992", SPARE_STATE)
    as_user = ("setpriv", "--reuid=992", "--regid=992", "--clear-groups")
    cert, key = _good(spare)
    closed = _copy(spare, "closed.pem", Path(cert).read_text("ascii"), 0o600)
    line = expect(_serve(public, "--certificate", closed, "--key", key, prefix=as_user), "NotPermitted")
    assert "closed.pem" in line


def test_one_file_without_the_other_is_refused(public: PublicPostern, spare: Authority) -> None:
    for option, path in zip(("--certificate", "--key"), _good(spare), strict=True):
        assert "both or none" in expect(_serve(public, option, path), "Usage")


@pytest.mark.parametrize("name", [name for name in BAD_FILES if "missing" not in name and name != "a folder"])
def test_a_reload_with_bad_files_changes_nothing_and_is_in_the_log(
    public: PublicPostern, spare: Authority, name: str
) -> None:
    before = public.shown_serial()
    make, _, words = BAD_FILES[name]
    cert, key = make(spare)
    Path(public.live[1]).chmod(0o644 if "chmod" in words else 0o600)
    try:
        said = public.reload_with(cert, key)
    finally:
        Path(public.live[1]).chmod(0o600)
    assert "The certificate stays as it is" in said
    assert public.shown_serial() == before
    assert _fetch(public) == public.lab.nonce
