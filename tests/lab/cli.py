"""`./dev lab`: the lab by hand."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import services
from .debs import FetchError
from .hosts import environment
from .paths import REPO, RUN
from .postern import Postern, check_binaries
from .testbed import Lab, LabError, say
from .topology import HOST_NAMES

USAGE_ERROR = 2


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.verb is not _test:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.pytest = rest
    try:
        return int(options.verb(options))
    except (LabError, FetchError) as error:
        say(f"lab: {error}")
        return USAGE_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev lab", description="Runs a lab of network namespaces on this machine.")
    parser.add_argument("--run-dir", type=Path, default=RUN, help="folder of the lab (default: %(default)s)")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    up = verbs.add_parser("up", help="start the lab and leave it running, with everything connected")
    up.add_argument("--bare", action="store_true", help="hosts and services only, without Postern")
    up.add_argument("--keep", action="store_true", help="leave a lab that failed to start, to look at it")
    up.set_defaults(verb=_up)
    run = verbs.add_parser("exec", help="run a command on a host: exec HOST -- COMMAND…")
    run.add_argument("host", metavar="HOST", help=", ".join(HOST_NAMES))
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND…")
    run.set_defaults(verb=_exec)
    verbs.add_parser("test", help="run the tests of the lab; arguments go to pytest").set_defaults(verb=_test)
    verbs.add_parser("status", help="show what runs").set_defaults(verb=_status)
    verbs.add_parser("down", help="stop the lab; nothing of it is left").set_defaults(verb=_down)
    return parser


def _up(options: argparse.Namespace) -> int:
    try:
        lab = Lab.attach(options.run_dir)
        print(f"the lab is already running (pid {lab.init_pid})")
        return 0
    except LabError:
        if not options.bare:
            check_binaries()
        lab = Lab.start(options.run_dir, stay=True)
    try:
        say("lab: hosts are up, starting services")
        services.start_all(lab)
        if not options.bare:
            say("lab: services answer, starting Postern")
            Postern(lab).start_all()
    except BaseException:
        if not options.keep:
            lab.down()
        raise
    print(f"the lab is up (pid {lab.init_pid}); logs are in {lab.run_dir}/log")
    print("try: ./dev lab exec laptop -- curl http://nginx.home.lan/nonce")
    return 0


def _exec(options: argparse.Namespace) -> int:
    lab = Lab.attach(options.run_dir)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise LabError("exec needs a command: ./dev lab exec HOST -- COMMAND…")
    argv = lab.enter(options.host, command)
    # exec, not a child: the command has our terminal, our signals and our exit code.
    os.execvpe(argv[0], argv, {**environment(), "TERM": os.environ.get("TERM", "dumb")})


def _test(options: argparse.Namespace) -> int:
    argv = ["/usr/bin/python3", "-B", "-m", "pytest", *(options.pytest or ["-q"])]
    paths = [argument for argument in options.pytest if not argument.startswith("-") and Path(argument).exists()]
    os.execv(argv[0], [*argv, *([] if paths else [str(REPO / "tests" / "lab")])])


def _status(options: argparse.Namespace) -> int:
    lab = Lab.attach(options.run_dir)
    print(f"lab in {lab.run_dir}, pid {lab.init_pid}, hosts: {', '.join(HOST_NAMES)}")
    for name, process in lab.processes().items():
        state = "running" if process["exit"] is None else f"ended with {process['exit']}"
        print(f"  {name:<18} on {process['host']:<11} {state}")
    if lab.is_running("posternd"):
        print(Postern(lab).client("status", check=False).stdout.rstrip())
    return 0


def _down(options: argparse.Namespace) -> int:
    try:
        lab = Lab.attach(options.run_dir)
    except LabError:
        print("no lab is running")
        return 0
    lab.down()
    print("the lab is down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
