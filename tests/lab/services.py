"""The real services of the lab: DNS, nginx, OpenSSH and PostgreSQL. Each answers with the nonce of the run.

Every function starts one service and returns when it answers on the lab's own network, so a test that fails later
cannot blame a service that was still starting. Services run in the foreground under the lab's process 1.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from .paths import FILES
from .testbed import Host, Lab, LabError, await_true
from .topology import (
    BOTH_NAME,
    DB,
    INTERNET,
    IPV6_NAME,
    NGINX,
    NGINX6,
    POOL_NAME,
    SERVER,
    SERVER6,
    SERVER_NAME,
    SSH,
    TARGET_NAME,
)

READY_SECONDS = 20.0
BIG_BYTES = 1 << 30
DB_USER = "app"
DB_NAME = "app"
_POSTGRES = (991, 991)
_PG_BIN = "/usr/lib/postgresql/15/bin"
_PG_DATA = "/run/postgresql/data"


def start_all(lab: Lab) -> None:
    start_dns(lab)
    start_nginx(lab)
    start_sshd(lab)
    start_postgres(lab)


# --- DNS -------------------------------------------------------------------------------------------------------------


def start_dns(lab: Lab) -> None:
    """A public resolver on the internet, and the two home routers' own, which forward to it what they do not know."""
    serve_public_dns(lab)
    _start_dnsmasq(lab, "laptop-nat", "192.168.77.1,2001:db8:77::1", [f"--server={INTERNET}"])
    start_home_dns(lab)
    _await_command(lab.host("laptop"), "getent", "ahostsv4", SERVER_NAME, service="dns-laptop-nat")
    _await_command(lab.host("connector"), "getent", "ahostsv4", "nginx.home.lan", service="dns-home-nat")


RECORDS = "records.lan"
"""A zone of the home network with records of many types."""
LONG_TEXT = "".join(f"{number:04}" for number in range(750))
"""3 KB: no DNS message over UDP has room for it."""


def start_home_dns(lab: Lab) -> None:
    """The home router's."""
    records = [(f"{name}.home.lan", address) for name, address in (("nginx", NGINX), ("ssh", SSH), ("db", DB))]
    records += [(TARGET_NAME, NGINX), (IPV6_NAME, NGINX6), (BOTH_NAME, NGINX), (BOTH_NAME, NGINX6)]
    zone = [f"--host-record={name},{address}" for name, address in records]
    zone += [f"--address=/{POOL_NAME}/{NGINX}"]
    pieces = (LONG_TEXT[at : at + 250] for at in range(0, len(LONG_TEXT), 250))
    zone += [
        f"--mx-host=mail.{RECORDS},smtp.{RECORDS},10",
        f"--mx-host=mail.{RECORDS},nginx.home.lan,20",
        f"--txt-record=mail.{RECORDS},v=spf1 -all",
        f"--caa-record=mail.{RECORDS},0,issue,ca.example",
        f"--naptr-record=mail.{RECORDS},10,20,s,SIP+D2U,,_sip._udp.{RECORDS}",
        f"--srv-host=_ldap._tcp.{RECORDS},directory.{RECORDS},389,5,7",
        f"--ptr-record=service.{RECORDS},one.{RECORDS}",
        f"--host-record=real.{RECORDS},{NGINX}",
        f"--cname=www.{RECORDS},real.{RECORDS}",
        f"--dns-rr=mail.{RECORDS},65,000100000400040a000001",
        f"--txt-record=long.{RECORDS},{','.join(pieces)}",
        "--txt-record=secret.other.lan,for those who may",
        "--txt-record=nginx.home.lan,web",
    ]
    local = ["--local=/home.lan/", f"--local=/{RECORDS}/", "--local=/other.lan/"]
    _start_dnsmasq(lab, "home-nat", "192.168.1.1", [f"--server={INTERNET}", *local, *zone])


def serve_public_dns(lab: Lab, server: tuple[str, ...] = (SERVER, SERVER6)) -> None:
    """The one on the internet; also again, after the Postern server has moved to these addresses."""
    records = [f"--host-record={SERVER_NAME},{','.join(server)}", f"--host-record=www.example.org,{INTERNET}"]
    _start_dnsmasq(lab, "internet", INTERNET, records)


def _start_dnsmasq(lab: Lab, host: str, address: str, options: list[str]) -> None:
    alone = ["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="]
    listen = ["--no-resolv", "--no-hosts", f"--listen-address={address}", "--bind-interfaces"]
    lab.host(host).spawn(f"dns-{host}", "dnsmasq", *alone, *listen, *options)


# --- nginx -----------------------------------------------------------------------------------------------------------

_NGINX_CONF = """
user root;
worker_processes 1;
daemon off;
pid /run/nginx.pid;
error_log {www}/../log/nginx-error.log warn;
events {{ worker_connections 1024; }}
http {{
  send_timeout 600s;  # a reader may be away for minutes, as in ./dev soak
  access_log {www}/../log/nginx-access.log;
  sendfile on;
  default_type application/octet-stream;
  client_max_body_size 0;
  client_body_temp_path {www}/tmp;
  server {{
    listen [::]:80 ipv6only=off;
    listen [::]:8080 ipv6only=off;
    listen [::]:8443 ssl ipv6only=off;
    listen [::]:443 ssl ipv6only=off;
    ssl_certificate {www}/../tls.crt;
    ssl_certificate_key {www}/../tls.key;
    root {www}/public;
    location /upload/ {{ dav_methods PUT DELETE; }}
    location = /slow {{ alias {www}/public/big; limit_rate 8m; }}
  }}
}}
"""


def start_nginx(lab: Lab) -> None:
    """http on 80 and 8080, https (self-signed) on 443 and 8443.

    /nonce, /big (1 GiB), /slow (the same at 8 MB/s), and PUT below /upload/.
    """
    host = lab.host("nginx")
    www = lab.run_dir / "www"
    for name in ("public/upload", "tmp"):
        (www / name).mkdir(parents=True)
    (www / "public" / "nonce").write_text(lab.nonce, encoding="ascii")
    (www / "public" / "big").symlink_to(big_file().path)
    subject = ["-subj", "/CN=nginx.home.lan", "-addext", f"subjectAltName=DNS:nginx.home.lan,IP:{NGINX}"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(lab.run_dir / "tls.key")]
    host.run("openssl", "req", "-x509", *key, "-days", "30", "-out", str(lab.run_dir / "tls.crt"), *subject)
    (lab.run_dir / "nginx.conf").write_text(_NGINX_CONF.format(www=www), encoding="utf-8")
    serve_nginx(lab)


def serve_nginx(lab: Lab) -> None:
    """Starts nginx on what start_nginx prepared; also after a test has stopped it."""
    host = lab.host("nginx")
    error_log = str(lab.run_dir / "log" / "nginx-error.log")
    host.spawn("nginx", "nginx", "-e", error_log, "-c", str(lab.run_dir / "nginx.conf"))
    _await_command(host, "curl", "-sf", f"http://{NGINX}/nonce", service="nginx")


@dataclass(frozen=True)
class BigFile:
    path: Path
    checksum: str
    """As b2sum prints it: sha256sum would take longer than the transfers it is meant to check."""


def big_file() -> BigFile:
    """1 GiB of the same bytes on every machine, none of its pages alike, made once and kept under build/."""
    path, note = FILES / "big", FILES / "big.b2sum"
    if not note.exists() or path.stat().st_size != BIG_BYTES:
        FILES.mkdir(parents=True, exist_ok=True)
        scratch = FILES / f"big.{os.getpid()}"
        digest = hashlib.blake2b()
        with open(scratch, "wb") as out:
            for number in range(BIG_BYTES >> 20):
                block = hashlib.shake_128(b"postern lab %d" % number).digest(1 << 20)
                digest.update(block)
                out.write(block)
        scratch.rename(path)
        note.write_text(digest.hexdigest(), encoding="ascii")
    return BigFile(path, note.read_text("ascii"))


def checksum_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


# --- OpenSSH ---------------------------------------------------------------------------------------------------------

_SSHD_CONF = """
ListenAddress 0.0.0.0:22
HostKey {run}/ssh/host_key
AuthorizedKeysFile {run}/ssh/client_key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PidFile none
UseDNS no
"""


def start_sshd(lab: Lab) -> None:
    """sshd with key login as root; `cat /run/nonce` gives the nonce."""
    host = lab.host("ssh")
    folder = lab.run_dir / "ssh"
    folder.mkdir()
    for name in ("host_key", "client_key"):
        host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name))
    public = (folder / "host_key.pub").read_text("ascii").split()[:2]
    known = "\n".join(f"{name} {' '.join(public)}" for name in ("ssh.home.lan", SSH)) + "\n"
    (folder / "known_hosts").write_text(known, encoding="ascii")
    (folder / "sshd_config").write_text(_SSHD_CONF.format(run=lab.run_dir), encoding="ascii")
    host.run("sh", "-c", "cat > /run/nonce", text=lab.nonce)
    # sshd refuses an account without a shadow entry it can read; "*" means "no password", not "locked".
    host.run("sed", "-i", "s/^root:[^:]*:/root:*:/", "/etc/shadow")
    host.spawn("sshd", "/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config"))
    _await_command(lab.host("connector"), *ssh_command(lab, SSH, "true"), service="sshd")


def ssh_command(lab: Lab, target: str, *command: str) -> list[str]:
    """A whole ssh command line that logs in at `target` with the lab's key and checks the host key."""
    options = {
        "IdentityFile": str(lab.run_dir / "ssh" / "client_key"),
        "UserKnownHostsFile": str(lab.run_dir / "ssh" / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "10",
    }
    flags = [item for name, value in options.items() for item in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "/dev/null", *flags, f"root@{target}", *command]


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def start_postgres(lab: Lab) -> None:
    """PostgreSQL 15 as its own user, data in memory, password login over the network; table `nonce` has the nonce."""
    host = lab.host("db")
    host.run("install", "-d", "-o", "991", "-g", "991", "/run/postgresql")
    initdb = [f"{_PG_BIN}/initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-D", _PG_DATA]
    host.run("setpriv", "--reuid=991", "--regid=991", "--clear-groups", *initdb)
    # `trust` is for the local socket only; the network must give the password.
    rules = "local all all trust\nhost all all 0.0.0.0/0 scram-sha-256\n"
    host.run("sh", "-c", f"cat > {_PG_DATA}/pg_hba.conf", text=rules)
    settings = ["listen_addresses=*", "fsync=off", "shared_buffers=32MB", "unix_socket_directories=/run/postgresql"]
    flags = [item for setting in settings for item in ("-c", setting)]
    host.spawn("postgres", f"{_PG_BIN}/postgres", "-D", _PG_DATA, *flags, user=_POSTGRES)
    local = ["-h", "/run/postgresql", "-U", "postgres"]
    _await_command(host, f"{_PG_BIN}/psql", *local, "-c", "select 1", service="postgres")
    setup = f"""
        create role {DB_USER} login password '{db_password(lab)}';
        create table nonce (value text);
        insert into nonce values ('{lab.nonce}');
        create table counter (value bigint);
        insert into counter values (0);
        grant all on nonce, counter to {DB_USER};
    """
    host.run(f"{_PG_BIN}/createdb", *local, DB_NAME)
    host.run(f"{_PG_BIN}/psql", *local, "-v", "ON_ERROR_STOP=1", DB_NAME, text=setup)


def db_password(lab: Lab) -> str:
    return lab.nonce[:16]


def psql_command(lab: Lab, target: str, *arguments: str) -> list[str]:
    """A psql command line without decoration. The password goes by PGPASSWORD (see psql_environment)."""
    return [f"{_PG_BIN}/psql", "-h", target, "-U", DB_USER, "-d", DB_NAME, "-XqtA", "-v", "ON_ERROR_STOP=1", *arguments]


def psql_environment(lab: Lab) -> dict[str, str]:
    return {"PGPASSWORD": db_password(lab), "PGCONNECT_TIMEOUT": "10", "PGSSLMODE": "disable"}


def _await_command(host: Host, *argv: str, service: str) -> None:
    """Waits until a command that asks `service` succeeds; gives up at once when the service has ended."""
    said = ""

    def works() -> bool:
        nonlocal said
        if not host.lab.is_running(service):
            raise LabError(f"{service} ended while starting:\n{host.lab.log(service)[-2000:]}")
        result = host.run(*argv, check=False)
        said = result.stderr.strip()[-500:]
        return result.returncode == 0

    try:
        await_true(f"`{' '.join(argv[-3:])}` works on {host.name}", works, READY_SECONDS)
    except LabError as error:
        raise LabError(f"{error}: {said}") from None
