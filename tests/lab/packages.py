"""Hosts of other distributions: what `./dev dist` makes, installed in roots that hold nothing of Debian's.

A root is a folder with a static shell (busybox) and the files that a distribution has at its own places, and nothing
else. A host of the lab enters it with chroot, so it keeps that host's network.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .authority import Authority
from .paths import REPO
from .postern import CONNECTOR_USER, PROGRAMS, Postern
from .testbed import Host, Lab, LabError
from .topology import SERVER_NAME

DIST = REPO / "build" / "dist"
PARTS = {"server": "server", "connector": "connector", "client": "laptop"}
"""Which package goes to which host."""

GLIBC = ("libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2")
FEDORA_BUNDLE = "etc/pki/tls/certs/ca-bundle.crt"
_NSSWITCH = "passwd: files systemd\ngroup: files systemd\nhosts: mymachines resolve [!UNAVAIL=return] files dns\n"


@functools.cache
def build() -> None:
    """Runs `./dev dist` on the binaries under test, once in a test run."""
    made = subprocess.run([REPO / "tools" / "dist"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise LabError(f"tools/dist failed: {made.stdout}{made.stderr}")


def archive(part: str) -> Path:
    return next(DIST.glob(f"postern-{part}-*.tar.gz"))


class Root:
    """One root, as seen on one host. `libc`: does the distribution have glibc, at /usr/lib as on Arch?"""

    def __init__(self, lab: Lab, host: str, libc: bool) -> None:
        self.lab = lab
        self.host = lab.host(host)
        self.path = lab.run_dir / "roots" / host
        self._make_files(libc)
        self._mount()

    def run(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A command inside; busybox has the usual ones."""
        return self.host.run("chroot", str(self.path), *argv, **options)

    def unpack(self, part: str) -> str:
        """Unpacks a package below /tmp, as a person would, and returns its folder."""
        inside = f"/tmp/{archive(part).name}"
        (self.path / inside[1:]).write_bytes(archive(part).read_bytes())
        self.run("tar", "-xzf", inside, "-C", "/tmp")
        return inside.removesuffix(".tar.gz")

    def _make_files(self, libc: bool) -> None:
        for name in ("usr/bin", "usr/lib", "etc", "proc", "dev", "tmp", "run", "var/lib", "root"):
            (self.path / name).mkdir(parents=True)
        for name, target in (("bin", "usr/bin"), ("sbin", "usr/bin"), ("lib", "usr/lib"), ("usr/sbin", "bin")):
            (self.path / name).symlink_to(target)
        if libc:
            (self.path / "lib64").symlink_to("usr/lib")
            for name in GLIBC:
                (self.path / "usr/lib" / name).write_bytes(Path("/lib/x86_64-linux-gnu", name).read_bytes())
                (self.path / "usr/lib" / name).chmod(0o755)
        (self.path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\npostern:x:992:992::/:/bin/false\n", "ascii")
        (self.path / "etc/group").write_text("root:x:0:\npostern:x:992:\n", "ascii")
        (self.path / "etc/hosts").write_text("127.0.0.1 localhost\n", "ascii")
        (self.path / "etc/nsswitch.conf").write_text(_NSSWITCH, "ascii")
        (self.path / "etc/resolv.conf").write_text(self.host.output("cat", "/etc/resolv.conf") + "\n", "ascii")

    def _mount(self) -> None:
        root = str(self.path)
        busybox = f"{root}/usr/bin/busybox"
        self.host.run("cp", "/usr/bin/busybox", busybox)
        for name in set(self.host.output(busybox, "--list").split()) - {"busybox"}:
            (self.path / "usr/bin" / name).symlink_to("busybox")
        self.host.run("mount", "--bind", "/dev", f"{root}/dev")
        self.host.run("mount", "-t", "proc", "proc", f"{root}/proc")


class RootedHost(Host):
    """A host where Postern's programs are those of a package, inside a root; all other commands are the lab's."""

    def __init__(self, root: Root) -> None:
        super().__init__(root.lab, root.host.name)
        self.root = root

    def run(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return super().run(*self._inside(argv), **options)

    def popen(self, *argv: str, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        return super().popen(*self._inside(argv), env=env, **options)

    def spawn(
        self, name: str, *argv: str, env: Mapping[str, str] | None = None, user: tuple[int, int] | None = None
    ) -> int:
        return super().spawn(name, *self._inside(argv, user), env=env)

    def _inside(self, argv: tuple[str, ...], user: tuple[int, int] | None = None) -> tuple[str, ...]:
        if argv[0] not in PROGRAMS:
            return argv
        who = (f"--userspec={user[0]}:{user[1]}",) if user else ()
        return ("chroot", *who, str(self.root.path), f"/usr/local/bin/{argv[0]}", *argv[1:])


class PackagedPostern(Postern):
    """Server, connector and client from their packages, each in a root of its own.

    Hosts without a C library are also those whose server has a public certificate and a name: then names and the list
    of authorities have to be found without the distribution's help.
    """

    def __init__(self, lab: Lab, libc: bool) -> None:
        super().__init__(lab)
        self.roots = {part: Root(lab, host, libc) for part, host in PARTS.items()}
        self.server, self.connector, self.laptop = (RootedHost(self.roots[part]) for part in PARTS)
        self.printed = {part: self.install(part) for part in PARTS}
        for root, folder in (("server", "postern-server"), ("connector", "postern-connector"), ("client", "postern")):
            (self.roots[root].path / "run" / folder).mkdir()
        own = f"{self.roots['connector'].path}/run/postern-connector"
        self.connector.run("chown", "{}:{}".format(*CONNECTOR_USER), own)
        if not libc:
            self._use_public_certificate()
        # What the daemon writes inside is what applications on the laptop read.
        self.laptop.run("ln", "-sf", f"{self.roots['client'].path}/etc/resolv.conf", "/etc/resolv.conf")

    def _use_public_certificate(self) -> None:
        """On the hosts the list of authorities is where Fedora has it, and nowhere else."""
        authority = Authority(self.lab)
        authority.be_trusted(self.lab, "laptop")  # the browser is the lab's
        for part in ("connector", "client"):
            bundle = self.roots[part].path / FEDORA_BUNDLE
            bundle.parent.mkdir(parents=True)
            bundle.write_text(authority.pem, "ascii")
        self.server_place = ("--domain", SERVER_NAME)
        for option, made in zip(("--certificate", "--key"), authority.issue("live", SERVER_NAME), strict=True):
            inside = f"/tmp/live{option}"
            self.server.run("install", "-m", "600", made, f"{self.roots['server'].path}{inside}")
            self.serve_options += (option, inside)

    def install(self, part: str, *options: str) -> str:
        folder = self.roots[part].unpack(part)
        return self.roots[part].run(f"{folder}/install.sh", *options, seconds=60).stdout

    def password_file(self, name: str, password: str) -> str:
        path = super().password_file(name, password)
        self.server.run("cp", path, f"{self.roots['server'].path}/tmp/{name}")
        return f"/tmp/{name}"

    def mapped_files(self, process: str) -> set[str]:
        """What a running process has mapped, as paths inside its root; anything else keeps its whole path."""
        entry = self.lab.processes()[process]
        maps = Path(f"/proc/{self.lab.init_pid}/root/proc/{entry['pid']}/maps").read_text("utf-8")
        root = str(self.roots[{"posternd": "client"}.get(process, process.removeprefix("postern-"))].path)
        return {line.split(None, 5)[5].removeprefix(root) for line in maps.splitlines() if "/" in line}
