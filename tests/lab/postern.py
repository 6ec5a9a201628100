"""The real Postern binaries in the lab, driven through their command lines and nothing else.

Every command line of Postern that the lab, the demo and the benches use is in this file, so that a change of an option
is a change here.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import probes
from .paths import BIN, REPO
from .testbed import Host, Lab, LabError, await_true, read_line
from .topology import SERVER

NETWORK = "home"
REMOTE_NETWORK = "home"
CONNECTOR_NAME = "attic"
PROGRAMS = ("postern-server", "postern-connector", "posternd", "postern")
READY_SECONDS = 20.0
CONNECTOR_USER = (992, 992)
HEALTH_URL = "http://127.0.0.1:9999/healthcheck"
RELAY_NAME = "far"
RELAY_PORT = 8443

SERVER_STATE = "/var/lib/postern-server"
RELAY_STATE = "/var/lib/postern-relay"
CLIENT_STATE = "/var/lib/postern"
ADMIN_SOCKET = "/run/postern-server/admin.sock"
CLIENT_SOCKET = "/run/postern/posternd.sock"

_CODE = re.compile(r"\b[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}\b")
_URL = re.compile(r"https://\S+")


def check_binaries() -> None:
    """Raises LabError when a program is missing; cheap, to be called before a lab is started for nothing."""
    missing = [name for name in PROGRAMS if not (BIN / name).exists()]
    if missing:
        raise LabError(f"{', '.join(missing)} not found in {BIN}: build first with `./dev build`")


class Postern:
    """One server, one connector and one client, on the hosts of those names."""

    admin_email = "admin@example.org"
    user_email = "user@example.org"
    group = "family"
    serve_options: tuple[str, ...] = ()
    """More options for `postern-server serve`."""

    server_place: tuple[str, str] = ("--address", SERVER)
    """How the server is told where people find it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.server = lab.host("server")
        self.connector = lab.host("connector")
        self.laptop = lab.host("laptop")
        self.network_before_client = ""
        """What laptop_network gave before the first start of the daemon."""
        self._network: dict[str, Any] = {}

    def start_all(self) -> None:
        """Server, model, connector and client, up to a laptop that is signed in and connected."""
        check_binaries()
        self.init_server()
        self.serve()
        self.create_model()
        self.start_connector()
        self.start_client()
        self.login()
        self.await_online()

    # --- server ------------------------------------------------------------------------------------------------------

    def init_server(self) -> None:
        self.server.run("install", "-d", "-m", "700", "/run/postern-server", SERVER_STATE)
        who = ["--network", NETWORK, *self.server_place, "--admin-email", self.admin_email]
        password = self.password_file("admin", self.admin_password)
        self.server.run("postern-server", "init", "--state", SERVER_STATE, *who, "--password-file", password)

    def serve(self, env: Mapping[str, str] | None = None) -> None:
        """Starts the server on its state; also after a crash. Returns when it answers."""
        where = ["--state", SERVER_STATE, "--listen", "[::]:443", "--admin-socket", ADMIN_SOCKET]
        self.server.spawn("postern-server", "postern-server", "serve", *where, *self.serve_options, env=env)
        self._await("postern-server", "the server answers", self._server_answers)
        self.look_at_network()

    def look_at_network(self) -> None:
        """Asks the running server for what clients need to find it."""
        self._network = self.admin("network", "show")

    def admin(self, *words: str) -> dict[str, Any]:
        """One admin command; returns its JSON answer."""
        output = self.server.output("postern-server", "admin", "--socket", ADMIN_SOCKET, "--json", *words)
        return json.loads(output) if output else {}

    def create_model(self) -> None:
        """The user, group, remote network, connector, and the three services as resources the user may reach."""
        self.admin("user", "add", self.user_email, "--password-file", self.password_file("user", self.user_password))
        self.admin("group", "add", self.group)
        self.admin("group", "add-user", self.group, self.user_email)
        self.admin("remote-network", "add", REMOTE_NETWORK)
        self.admin("connector", "add", CONNECTOR_NAME, "--remote-network", REMOTE_NETWORK)
        self.add_resource("web", "nginx.home.lan", aliases=("web.internal",), tcp="80,443")
        self.add_resource("shell", "ssh.home.lan", tcp="22")
        self.add_resource("database", "db.home.lan", tcp="5432")
        for resource in ("web", "shell", "database"):
            self.grant(resource)

    def add_resource(
        self,
        name: str,
        address: str,
        aliases: tuple[str, ...] = (),
        tcp: str = "",
        udp: str = "",
        ping: bool = True,
    ) -> None:
        options = [item for alias in aliases for item in ("--alias", alias)]
        options += ["--tcp", tcp] if tcp else []
        options += ["--udp", udp] if udp else []
        options += [] if ping else ["--no-ping"]
        self.admin("resource", "add", name, "--remote-network", REMOTE_NETWORK, "--address", address, *options)

    def grant(self, resource: str) -> None:
        """Lets the group of the user reach a resource."""
        self.admin("access", "grant", resource, "--group", self.group)

    def revoke(self, resource: str) -> None:
        self.admin("access", "revoke", resource, "--group", self.group)

    def kill_server(self) -> None:
        self._kill("postern-server")

    # --- a relay apart from the server -------------------------------------------------------------------------------

    def add_relay(self) -> None:
        """Registers a relay that runs on the server's host, on a port of its own, and keeps what it needs."""
        added = self.admin("relay", "add", RELAY_NAME, "--address", f"{SERVER}:{RELAY_PORT}")
        text = json.dumps({key: added[key] for key in ("controller", "relay_token")})
        (self.lab.run_dir / "relay.json").write_text(text, encoding="utf-8")

    def relay_environment(self) -> dict[str, str]:
        given = json.loads((self.lab.run_dir / "relay.json").read_text("utf-8"))
        return {"POSTERN_ROLES": "relay", **{f"POSTERN_{key.upper()}": value for key, value in given.items()}}

    def relay_command(self, state: str = RELAY_STATE, port: int = RELAY_PORT) -> list[str]:
        return ["postern-server", "serve", "--state", state, "--listen", f"[::]:{port}"]

    def serve_relay(self) -> None:
        """Starts the relay on its state; also after a crash. Returns when it forwards."""
        self.server.run("install", "-d", "-m", "700", RELAY_STATE)
        starts = lambda: self.lab.log("postern-relay").count("The relay is ready")  # noqa: E731
        before = starts()
        self.server.spawn("postern-relay", *self.relay_command(), env=self.relay_environment())
        self._await("postern-relay", "the relay is ready", lambda: starts() > before)

    def kill_relay(self) -> None:
        self._kill("postern-relay")

    # --- connector ---------------------------------------------------------------------------------------------------

    def start_connector(self) -> None:
        """Makes tokens and starts the connector as a plain user. Returns when its health check is good."""
        tokens = self.admin("connector", "tokens", CONNECTOR_NAME)
        text = json.dumps({key: tokens[key] for key in ("network", "url", "access_token", "refresh_token")})
        tokens_file = self.lab.run_dir / "connector-tokens.json"
        tokens_file.write_text(text, encoding="utf-8")
        self.serve_connector()

    def serve_connector(self) -> None:
        """Starts the connector with the tokens that start_connector made; also after a crash."""
        tokens = json.loads((self.lab.run_dir / "connector-tokens.json").read_text("utf-8"))
        environment = {f"POSTERN_{key.upper()}": value for key, value in tokens.items()}
        self.connector.spawn("postern-connector", "postern-connector", env=environment, user=CONNECTOR_USER)
        self._await("postern-connector", "the connector is healthy", self.connector_is_healthy)

    def serve_instance(self, name: str, health_port: int, ready: bool = True) -> None:
        """Starts one more process with the connector's tokens, under a name and with a health port of its own."""
        tokens = json.loads((self.lab.run_dir / "connector-tokens.json").read_text("utf-8"))
        environment = {f"POSTERN_{key.upper()}": value for key, value in tokens.items()}
        environment |= {"POSTERN_HEALTH_PORT": str(health_port), "POSTERN_API_ENDPOINT": f"/tmp/{name}.sock"}
        self.connector.spawn(name, "postern-connector", env=environment, user=CONNECTOR_USER)
        if ready:
            self._await(name, f"{name} is healthy", lambda: self.connector_is_healthy(health_port))

    def connector_is_healthy(self, port: int = 9999) -> bool:
        url = HEALTH_URL.replace("9999", str(port))
        asked = self.connector.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url, check=False)
        return asked.stdout == "200"

    def kill_connector(self) -> None:
        self._kill("postern-connector")

    # --- client ------------------------------------------------------------------------------------------------------

    def start_client(self) -> None:
        """Starts the daemon on the laptop; also after a crash. Returns when it answers on its socket."""
        self.network_before_client = self.network_before_client or self.laptop_network()
        self.laptop.run("install", "-d", "-m", "755", "/run/postern", CLIENT_STATE)
        self.laptop.spawn("posternd", "posternd", "--state", CLIENT_STATE, "--socket", CLIENT_SOCKET)
        self._await("posternd", "the daemon answers", lambda: self.status_word() not in ("", "not-running"))

    def client(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.laptop.run("postern", "--socket", CLIENT_SOCKET, *words, **options)

    def status_word(self) -> str:
        """`postern status --short`; empty while the daemon does not answer."""
        result = self.client("status", "--short", check=False)
        return result.stdout.strip() if result.returncode == 0 or result.stdout.strip() else ""

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.client("status", "--json").stdout)
        return answer

    def login(self, password: str | None = None) -> None:
        """`postern login` on the laptop, and the person in the browser beside it; a wrong password is a LabError."""
        url = self._network["enrolment_url"]
        process = self.laptop.popen(
            *("postern", "--socket", CLIENT_SOCKET, "login", url), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            page, code = self.read_invitation(process)
            self.sign_in(page, code, self.user_email, password or self.user_password)
            if process.wait(timeout=READY_SECONDS) != 0:
                raise LabError(f"`postern login` exited with {process.returncode}")
        finally:
            process.kill()
            process.wait()

    def sign_in(self, page: str, code: str, email: str, password: str, host: Host | None = None) -> str:
        """What the browser (on the laptop, or on this host) shows after this person signed in with the code."""
        answers = {"user_code": code, "email": email, "password": password}
        orders = json.dumps({"ca_pem": self._network["ca_pem"], "answers": answers})
        program = str(REPO / "tests/lab/browser.py")
        return (host or self.laptop).output("/usr/bin/python3", "-B", program, page, text=orders, seconds=60)

    def await_online(self) -> None:
        try:
            self._await("posternd", "the client is online", lambda: self.status_word() == "online")
        except LabError as error:
            status = self.client("status", check=False)
            raise LabError(f"{error}\n{status.stdout}{status.stderr}\n{self.lab.log('posternd')[-2000:]}") from None

    def laptop_network(self) -> str:
        """Everything on the laptop that the daemon changes while it runs: routes, rules, interfaces, DNS."""
        looks = ["ip -4 route show table all", "ip -6 route show table main", "ip rule", "ip -br link"]
        script = "; ".join([*looks, "cat /etc/resolv.conf", "stat -c %F:%a:%u:%g /etc/resolv.conf"])
        return self.laptop.output("sh", "-ec", script)

    def kill_client(self) -> None:
        self._kill("posternd")

    def virtual_address(self, name: str) -> str:
        """The address the laptop uses for a resource name; empty while it has none."""
        return next(iter(probes.addresses(self.laptop, name)), "")

    def paths(self) -> list[str]:
        """How the client's sessions go, as its status says it (relay, direct)."""
        return [str(session.get("path", "?")) for session in self.status().get("sessions", [])]

    # --- helpers -----------------------------------------------------------------------------------------------------

    @property
    def admin_password(self) -> str:
        return f"admin {self.lab.nonce}"

    @property
    def user_password(self) -> str:
        return f"user {self.lab.nonce}"

    def password_file(self, name: str, password: str) -> str:
        path: Path = self.lab.run_dir / f"{name}.password"
        path.write_text(password + "\n", encoding="utf-8")
        path.chmod(0o600)
        return str(path)

    def _server_answers(self) -> bool:
        asked = ["postern-server", "admin", "--socket", ADMIN_SOCKET, "--json", "network", "show"]
        return self.server.run(*asked, check=False).returncode == 0

    def read_invitation(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        """The page and the code that `postern login` prints before it waits."""
        said = ""
        while line := read_line(process, READY_SECONDS):
            said += line
            if found := self.read_invitation_text(said):
                return found
        raise LabError(f"`postern login` ended, or waited, without a page and a code:\n{said}")

    @staticmethod
    def read_invitation_text(said: str) -> tuple[str, str] | None:
        url, code = _URL.search(said), _CODE.search(said)
        return (url.group().rstrip(".,;"), code.group()) if url and code else None

    @property
    def enrolment_url(self) -> str:
        return str(self._network["enrolment_url"])

    def _await(self, process: str, what: str, probe: Any) -> None:
        def works() -> bool:
            if not self.lab.is_running(process):
                raise LabError(f"{process} ended:\n{self.lab.log(process)[-2000:]}")
            return bool(probe())

        await_true(what, works, READY_SECONDS)

    def _kill(self, name: str) -> None:
        self.lab.stop(name, signal.SIGKILL)
