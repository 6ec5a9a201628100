"""NOTICE: what of others is in a package, and under which licences, taken from Debian's own copyright files.

What is in a package is not listed by hand: shipped libraries are files, and what is compiled in are the headers that
the build says it read (ninja's dependency log). Each leads to the Debian package that it came from.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

_INFO = Path("/var/lib/dpkg/info")
_DOC = Path("/usr/share/doc")
_TOOLCHAIN = {"linux", "cross-toolchain-base"}
"""Their headers describe the kernel's interfaces; nothing of them is in a program."""

_INTRODUCTION = """\
Postern is licensed under the Apache License, version 2.0 (LICENSE). This package also holds work of others:
the libraries in lib/ and glibc/, unchanged but for the path where they look for each other, and what was
compiled into the programs. All of it comes from Debian. Its source code is the Debian source package that is
named, in that version. Libraries in lib/ may be replaced by changed versions that have the same interface.
"""


class NoticeError(Exception):
    """Something has no known origin or no licence text."""


@dataclass
class Work:
    """One Debian source package, and what the package has of it."""

    source: str
    version: str
    packages: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    compiled_in: bool = False


def write(target: Path, build: Path, programs: list[Path], shipped: list[Path]) -> None:
    owners = _owners()
    works: dict[str, Work] = {}
    for library in shipped:
        _work(works, _owner(owners, library)).files.add(library.name)
    for header in _headers(build, programs):
        work = _work(works, _owner(owners, header))
        work.compiled_in = True
    kept = [work for name, work in sorted(works.items()) if name not in _TOOLCHAIN]
    target.write_text(_INTRODUCTION + "".join(_section(work) for work in kept), encoding="utf-8")


def _owners() -> dict[str, str]:
    """Which installed package a file of /usr/include or a library belongs to, by real path."""
    owners = {}
    for listing in sorted(_INFO.glob("*.list")):
        package = listing.name.removesuffix(".list").split(":")[0]
        for line in listing.read_text("utf-8").splitlines():
            if "/include/" in line or "/lib/" in line or "/lib64/" in line:
                owners[line.removeprefix("/usr")] = package
    return owners


def _owner(owners: dict[str, str], file: Path) -> str:
    for path in (file, file.resolve()):
        if package := owners.get(str(path).removeprefix("/usr")):
            return package
    raise NoticeError(f"{file} belongs to no Debian package, so its licence is unknown: install it from Debian")


def _work(works: dict[str, Work], package: str) -> Work:
    shown = ["dpkg-query", "-W", "-f=${source:Package} ${source:Version}\\n", package]
    source, version = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.split("\n")[0].split()
    work = works.setdefault(source, Work(source, version))
    work.packages.add(package)
    return work


def _headers(build: Path, programs: list[Path]) -> set[Path]:
    """The headers outside the checkout that the objects of these programs were made from; one per folder is enough."""
    targets = [str(program.relative_to(build)) for program in programs]
    inputs = _ninja(build, "inputs", *targets).splitlines()
    objects = [line for line in inputs if line.endswith(".o")]
    by_folder: dict[Path, Path] = {}
    for line in _ninja(build, "deps", *objects).splitlines():
        if line.startswith("    /usr/include/"):
            header = Path(line.strip())
            by_folder.setdefault(header.parent, header)
            if header.parent == Path("/usr/include"):
                by_folder[header] = header
    return set(by_folder.values())


def _ninja(build: Path, tool: str, *arguments: str) -> str:
    result = subprocess.run(["ninja", "-C", build, "-t", tool, *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise NoticeError(f"ninja cannot tell what the programs are made of: {result.stderr.strip()}")
    return result.stdout


def _section(work: Work) -> str:
    folder = "glibc" if work.source == "glibc" else "lib"
    parts = [f"{folder}/{name}" for name in sorted(work.files)]
    parts += ["compiled in"] if work.compiled_in and not work.files else []
    texts = []
    for package in sorted(work.packages):
        file = _DOC / package / "copyright"
        if not file.exists():
            raise NoticeError(f"{file} is missing: install the package {package} with its documentation")
        if (text := file.read_text("utf-8", errors="replace").strip()) not in texts:
            texts.append(text)
    rule = "=" * 100
    return f"\n{rule}\n{work.source} {work.version}: {', '.join(parts)}\n{rule}\n\n" + "\n\n".join(texts) + "\n"
