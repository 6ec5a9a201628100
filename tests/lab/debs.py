"""Fetches Debian programs for the lab and unpacks them under build/lab, without installing anything.

Lab peers (nginx, sshd, PostgreSQL and so on) would start services and rewrite /etc if they were installed. Here the
packages are downloaded and unpacked only: no maintainer script runs. apt resolves what the host lacks, so the tree
holds the named programs plus the libraries the host does not have; lab hosts lay it over /usr (see init.py).

A tree is made under a temporary name and renamed when complete. Its name holds a digest of the wanted list and of the
host's package status, so a changed host gets a new tree while running labs keep the old one: each lab holds a shared
lock on its tree, and a tree is deleted only when that lock can be had.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .paths import LAB

WANTED = (
    "bind9-dnsutils",
    "busybox-static",
    "curl",
    "dbus-daemon",
    "dnsmasq-base",
    "ethtool",
    "faketime",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "miniupnpd-nftables",
    "ncat",
    "network-manager",
    "nftables",
    "nginx",
    "nmap",
    "openssh-client",
    "openssh-server",
    "openssl",
    "openvpn",
    "postgresql-15",
    "postgresql-client-15",
    "socat",
    "systemd",
    "systemd-resolved",
    "tcpdump",
    "tinyproxy-bin",
    "util-linux",
    "wireguard-go",
    "wireguard-tools",
)
# Programs that exclude each other, or one above, as packages: each is unpacked in a folder of its own (alternative()),
# without what it depends on. Both are shell scripts.
ALTERNATIVES = ("openresolv", "resolvconf")
# Large, and wanted by few tests: fetched when one of them runs (chromium.py).
BROWSER = ("chromium", "fonts-dejavu-core")
# The build of 2023-12 and later has TUN offload and UDP GSO; measuring an older one would flatter us.
FROM_BACKPORTS = ("wireguard-go",)

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DPKG_STATUS = Path("/var/lib/dpkg/status")
_APT = LAB / "apt"


class FetchError(Exception):
    """The programs could not be fetched; the message says what to do."""


def ensure_tree() -> Path:
    """Returns the folder with the unpacked programs, fetching them first where needed."""
    tree = LAB / f"root-{_digest((*WANTED, '|', *FROM_BACKPORTS, '|', *ALTERNATIVES))}"
    if tree.is_dir():
        return tree
    LAB.mkdir(parents=True, exist_ok=True)
    with _exclusive(LAB / "fetch.lock"):
        if not tree.is_dir():
            print("lab: fetching programs for the lab (nothing is installed)", flush=True)
            _fetch_into(tree)
            _prune(keep=tree)
    return tree


def browser_tree() -> Path:
    """Returns the folder with the unpacked browser and the libraries that the host lacks for it, fetching them first."""
    tree = LAB / f"browser-{_digest(BROWSER)}"
    if tree.is_dir():
        return tree
    LAB.mkdir(parents=True, exist_ok=True)
    with _exclusive(LAB / "fetch.lock"):
        if not tree.is_dir():
            print("lab: fetching a browser for the tests (nothing is installed)", flush=True)
            _write_apt_config()
            _unpack_all(_download(BROWSER, refresh=not any(_lists().glob("*Packages*"))), tree)
            for old in LAB.glob("browser-*"):
                if old != tree:
                    shutil.rmtree(old)
    return tree


def alternative(tree: Path, package: str) -> Path:
    """The folder with the unpacked files of one of ALTERNATIVES."""
    return tree / "alternatives" / package


def _digest(names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    digest.update(" ".join(names).encode())
    digest.update(_DPKG_STATUS.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with open(path, "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_into(tree: Path) -> None:
    _write_apt_config()
    packages = _download(WANTED, refresh=not any(_lists().glob("*Packages*")))
    _unpack_all(packages, tree, ALTERNATIVES)


def _unpack_all(packages: Sequence[Path], tree: Path, alternatives: Sequence[str] = ()) -> None:
    scratch = tree.with_name(tree.name + ".new")
    shutil.rmtree(scratch, ignore_errors=True)
    _make_folders(scratch)
    for package in packages:
        _unpack(package, scratch)
    for name in alternatives:
        _make_folders(alternative(scratch, name))
        _unpack(_download_alone(name), alternative(scratch, name))
    scratch.rename(tree)


def _make_folders(target: Path) -> None:
    """Debian 12 has merged /usr, but many packages still name /bin, /sbin and /lib: links send all of it to usr/."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (target / "usr" / name).mkdir(parents=True)
        (target / name).symlink_to(f"usr/{name}")
    for name in ("etc", "var"):
        (target / name).mkdir()


def _unpack(package: Path, target: Path) -> None:
    """What `dpkg -x` does, except that it would replace the links of the target by real folders."""
    with subprocess.Popen(["dpkg", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as content:
        tar = ["tar", "-x", "-p", "--keep-directory-symlink", "-C", str(target)]
        unpacked = subprocess.run(tar, stdin=content.stdout, capture_output=True, text=True, check=False)
    if content.returncode != 0 or unpacked.returncode != 0:
        raise FetchError(f"cannot unpack {package.name}: {unpacked.stderr.strip()}")


def _lists() -> Path:
    return _APT / "lists"


def _write_apt_config() -> None:
    """Names the host's own mirrors, plus backports, in a private source list: the host's sources stay as they are."""
    (_lists() / "partial").mkdir(parents=True, exist_ok=True)
    (_APT / "debs").mkdir(exist_ok=True)
    if not _KEYRING.is_file():
        raise FetchError(f"{_KEYRING} is missing: install the package debian-archive-keyring")
    known = _run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
    sources = sorted({tuple(line.split()) for line in known.splitlines() if len(line.split()) == 2})
    sources = [(uri, release) for uri, release in sources if release.split("-")[0] == "bookworm"]
    mirror = next((uri for uri, release in sources if release == "bookworm"), None)
    if mirror is None:
        raise FetchError("apt knows no mirror for bookworm: add Debian 12's package source to the host and try again")
    wanted = [*sources] + [(mirror, "bookworm-backports")] * ((mirror, "bookworm-backports") not in sources)
    lines = [f"deb [signed-by={_KEYRING}] {uri} {release} main\n" for uri, release in wanted]
    (_APT / "sources.list").write_text("".join(lines), encoding="utf-8")
    pin = f"Package: {' '.join(FROM_BACKPORTS)}\nPin: release n=bookworm-backports\nPin-Priority: 900\n"
    (_APT / "preferences").write_text(pin, encoding="utf-8")


def _apt_get(*arguments: str) -> str:
    return _apt("apt-get", "-q", "-y", *arguments)


def _apt(program: str, *arguments: str) -> str:
    options = (
        f"Dir::Etc::SourceList={_APT}/sources.list",
        "Dir::Etc::SourceParts=/dev/null",
        f"Dir::Etc::Preferences={_APT}/preferences",
        "Dir::Etc::PreferencesParts=/dev/null",
        f"Dir::State::Lists={_lists()}",
        f"Dir::Cache={_APT}",
        "APT::Sandbox::User=root",
    )
    flags = [item for option in options for item in ("-o", option)]
    return _run([program, *flags, *arguments], cwd=_APT / "debs")


def _download(names: Sequence[str], refresh: bool) -> list[Path]:
    """Downloads the wanted packages with what the host lacks for them; returns the package files."""
    if refresh:
        _apt_get("update")
    try:
        return _download_missing(names)
    except FetchError:
        if refresh:
            raise
        return _download(names, refresh=True)  # The index was old and names versions that the mirror no longer has.


def _download_missing(names: Sequence[str]) -> list[Path]:
    plan = _apt_get("install", "--simulate", "--no-install-recommends", *names)
    versions: dict[str, str] = {}
    for line in plan.splitlines():
        words = line.split()
        if words[:1] == ["Inst"]:
            new = next(word for word in words[2:] if word.startswith("("))
            versions[words[1]] = new[1:]
    have = {path.name for path in (_APT / "debs").glob("*.deb")}
    wanted = {name: _file_prefix(name, version) for name, version in versions.items()}
    missing = [f"{name}={versions[name]}" for name, prefix in wanted.items() if not _has(have, prefix)]
    if missing:
        _apt_get("download", *missing)
    files = sorted((_APT / "debs").glob("*.deb"))
    return [path for path in files if any(path.name.startswith(prefix) for prefix in wanted.values())]


def _download_alone(name: str) -> Path:
    """The newest file of a package, whatever else it would need."""
    about = _apt("apt-cache", "show", "--no-all-versions", name)
    version = next(line.split()[1] for line in about.splitlines() if line.startswith("Version:"))
    _apt_get("download", f"{name}={version}")  # Does nothing where the file is there.
    return next(path for path in (_APT / "debs").glob("*.deb") if path.name.startswith(_file_prefix(name, version)))


def _file_prefix(name: str, version: str) -> str:
    """Package files are NAME_VERSION_ARCH.deb with the colon of an epoch written %3a."""
    return f"{name.split(':')[0]}_{version.replace(':', '%3a')}_"


def _has(names: set[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _prune(keep: Path) -> None:
    for old in LAB.glob("root-*"):
        if old == keep or not old.is_dir():
            continue
        handle = os.open(old, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old)
        except BlockingIOError:
            pass  # A running lab stands on it.
        finally:
            os.close(handle)


def _run(argv: list[str], cwd: Path | None = None) -> str:
    result = subprocess.run(argv, cwd=cwd, text=True, capture_output=True, check=False)
    if result.returncode != 0:
        last = (result.stderr.strip() or result.stdout.strip()).splitlines()[-3:]
        raise FetchError(f"`{' '.join(argv[:1] + argv[-2:])}` failed: {' / '.join(last)}")
    return result.stdout
