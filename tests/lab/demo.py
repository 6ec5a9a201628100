"""`./dev demo`: the main job with the real programs. Three services behind another NAT, reached from the laptop.

An access counts as reached only when the service answered with the nonce of this run.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import services
from .debs import FetchError
from .paths import RUN
from .postern import Postern, check_binaries
from .testbed import Lab, LabError, say, scratch_run_dir

COPY_MIB = 256
TRANSACTIONS = 1000
_CONNECT = """
import socket, sys, time
address = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), socket.AF_INET, socket.SOCK_STREAM)[0][4]
started = time.monotonic()
socket.create_connection(address, timeout=10).close()
print((time.monotonic() - started) * 1000)
"""


@dataclass
class Access:
    """One line of the table."""

    what: str
    target: str
    reached: bool = False
    connect: str = "-"
    throughput: str = "-"
    problem: str = ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description="The main job on real services, in namespaces.")
    parser.add_argument("--once", action="store_true", help="take all down again; exit 0 only if all was reached")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    run_dir = scratch_run_dir("demo") if options.once else RUN
    try:
        check_binaries()
        lab = Lab.start(run_dir)
    except (LabError, FetchError) as error:
        say(f"demo: {error}")
        return 2
    try:
        reached = _show(lab)
        if not options.once:
            _leave_running()
    except LabError as error:
        say(f"demo: {error}")
        say(f"demo: the logs are in {run_dir}/log")
        return 1
    except KeyboardInterrupt:
        say("")
        return 130
    finally:
        lab.down()
        say("demo: everything is down again")
    if options.once and reached:
        shutil.rmtree(run_dir, ignore_errors=True)
    return 0 if reached else 1


def _show(lab: Lab) -> bool:
    say("demo: hosts, links and NATs are up; starting nginx, OpenSSH and PostgreSQL in the home network")
    services.start_all(lab)
    say("demo: starting postern-server, postern-connector and posternd; signing in")
    postern = Postern(lab)
    started = time.monotonic()
    postern.start_all()
    say(f"demo: the laptop is online {time.monotonic() - started:.1f} s after the server's first command")
    accesses = [_web(lab, postern), _shell(lab, postern), _database(lab, postern)]
    path = ", ".join(dict.fromkeys(postern.paths())) or "no session"
    print(_table(accesses, path))
    for access in accesses:
        if access.problem:
            print(f"{access.what} failed: {access.problem}")
    return all(access.reached for access in accesses)


def _web(lab: Lab, postern: Postern) -> Access:
    access = Access("nginx (web page)", "http://nginx.home.lan/")

    def use() -> str:
        nonce = postern.laptop.output("curl", "-sS", "-m", "20", "http://nginx.home.lan/nonce")
        half = f"0-{(COPY_MIB << 20) - 1}"
        speed = ["curl", "-sS", "-m", "60", "-r", half, "-o", "/dev/null", "-w", "%{speed_download}"]
        bytes_per_second = float(postern.laptop.output(*speed, "http://nginx.home.lan/big", seconds=70))
        access.throughput = f"{bytes_per_second * 8 / 1e9:.2f} Gb/s"
        return nonce

    return _fill(access, lab, postern, "nginx.home.lan", 80, use)


def _shell(lab: Lab, postern: Postern) -> Access:
    access = Access("OpenSSH (command)", "ssh.home.lan")

    def use() -> str:
        nonce = postern.laptop.output(*services.ssh_command(lab, "ssh.home.lan", "cat /run/nonce"))
        size = COPY_MIB << 18  # A quarter of it: ssh encrypts everything once more.
        started = time.monotonic()
        copy = services.ssh_command(lab, "ssh.home.lan", f"head -c {size} /dev/zero")
        postern.laptop.run("sh", "-c", '"$@" > /dev/null', "copy", *copy, seconds=60)
        access.throughput = f"{size * 8 / 1e9 / (time.monotonic() - started):.2f} Gb/s"
        return nonce

    return _fill(access, lab, postern, "ssh.home.lan", 22, use)


def _database(lab: Lab, postern: Postern) -> Access:
    access = Access("PostgreSQL (query)", "db.home.lan")

    def use() -> str:
        environment = services.psql_environment(lab)
        ask = services.psql_command(lab, "db.home.lan", "-c", "select value from nonce")
        nonce = postern.laptop.output(*ask, env=environment)
        script = "begin; update counter set value = value + 1; commit;\n" * TRANSACTIONS
        started = time.monotonic()
        work = services.psql_command(lab, "db.home.lan", "-f", "-")
        postern.laptop.run(*work, text=script, env=environment, seconds=60)
        access.throughput = f"{TRANSACTIONS / (time.monotonic() - started):.0f} commits/s"
        return nonce

    return _fill(access, lab, postern, "db.home.lan", 5432, use)


def _fill(access: Access, lab: Lab, postern: Postern, name: str, port: int, use: Callable[[], str]) -> Access:
    try:
        access.connect = f"{float(postern.laptop.output('/usr/bin/python3', '-c', _CONNECT, name, str(port))):.1f} ms"
        access.reached = use() == lab.nonce
        access.problem = "" if access.reached else "it answered, but not with the nonce of this run"
    except LabError as error:
        access.problem = str(error).splitlines()[-1]
    return access


def _table(accesses: list[Access], path: str) -> str:
    lines = [f"{'reached':<22}{'at':<26}{'ok':<5}{'connect':>10}  {'path':<10}{'throughput':>16}"]
    for access in accesses:
        ok = "yes" if access.reached else "NO"
        lines.append(
            f"{access.what:<22}{access.target:<26}{ok:<5}{access.connect:>10}  {path:<10}{access.throughput:>16}"
        )
    return "\n" + "\n".join(lines) + "\n"


def _leave_running() -> None:
    print(
        """The lab runs until Ctrl-C. From another terminal:

  ./dev lab exec laptop -- curl http://nginx.home.lan/nonce
  ./dev lab exec laptop -- curl http://web.internal/nonce       # an alias
  ./dev lab exec laptop -- postern status
  ./dev lab exec laptop -- curl -m 3 http://nginx.home.lan:8080 # not granted: refused
  ./dev lab exec server -- postern-server admin access revoke web --group family
  ./dev lab exec laptop -- bash                                 # look around
  ./dev lab status
""",
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
