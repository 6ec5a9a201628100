"""`./dev dist`: one package each for the server, the connector and the client, under build/dist.

A package holds the programs with their private libraries (found by $ORIGIN), units, manual pages, licences, install.sh,
and the C library for hosts whose own is too old or another one (install.sh decides; docs/decisions/0003). The same
commit gives the same bytes: files are sorted, dates are those of the commit (or SOURCE_DATE_EPOCH).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import notice

REPO = Path(__file__).resolve().parents[2]
BUILD = REPO / "build" / "release"
OUT = REPO / "build" / "dist"
SIZE_MAX = 25 * 1000 * 1000
LOADER = "/lib64/ld-linux-x86-64.so.2"
INTERPRETER_SIZE = 256
"""Bytes kept free in each program for the path of its loader, so that install.sh can write it without tools."""

C_LIBRARY = (
    *("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6"),
    *("libpthread.so.0", "libdl.so.2", "librt.so.1", "libresolv.so.2"),
)
"""These come from one glibc or from the other, never mixed. The rest of a program's libraries is always our own."""


class DistError(Exception):
    """A package could not be made; the message says what to do."""


@dataclass(frozen=True)
class Part:
    """One package. The fields below `manuals` are for install.sh."""

    name: str
    programs: tuple[str, ...]
    """With what they are linked to."""
    manuals: tuple[str, ...]
    units: tuple[str, ...]
    loaded: tuple[str, ...] = ()
    """Libraries that a program loads while it runs. The host's own would often be too new for our C library."""
    enabled_units: tuple[str, ...] = ()
    user: str = ""
    group: str = ""
    config_files: tuple[str, ...] = ()
    state_folders: tuple[str, ...] = ()


PARTS = (
    Part(
        "server",
        ("postern-server",),
        ("postern-server.8", "postern-server-admin.8"),
        ("postern-server.service",),
        user="postern-server",
        config_files=("server.toml:644",),
        state_folders=("/var/lib/postern-server",),
    ),
    Part(
        "connector",
        ("postern-connector",),
        ("postern-connector.8",),
        ("postern-connector.service",),
        config_files=("connector.env:600",),
    ),
    Part(
        "client",
        ("posternd", "postern"),
        ("posternd.8", "postern.1"),
        ("posternd.service", "posternd-restore.service"),
        loaded=("libsystemd.so.0",),
        enabled_units=("posternd-restore.service",),
        group="postern",
        config_files=("client.toml:644",),
        state_folders=("/var/lib/postern",),
    ),
)


def main() -> int:
    try:
        epoch = source_date()
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        sums = []
        for part in PARTS:
            archive, glibc = make_package(part, epoch)
            size = archive.stat().st_size
            if size > SIZE_MAX:
                raise DistError(f"{archive.name} has {size / 1e6:.1f} MB, over {SIZE_MAX / 1e6:.0f}")
            print(f"dist: {size / 1e6:5.1f} MB  {archive.name}  (uses the host's glibc from {glibc} on, else its own)")
            sums.append(f"{digest(archive)}  {archive.name}\n")
        (OUT / "SHA256SUMS").write_text("".join(sums), encoding="ascii")
        print(f"dist: packages and SHA256SUMS are in {OUT.relative_to(REPO)}")
    except (DistError, notice.NoticeError) as error:
        print(f"dist: {error}", file=sys.stderr)
        return 1
    return 0


def make_package(part: Part, epoch: int) -> tuple[Path, str]:
    """Returns the archive, and the oldest glibc of a host that the programs start with."""
    name = f"postern-{part.name}-{version()}-linux-x86_64"
    stage = OUT / "stage" / name
    for folder in ("bin", "lib", "glibc", "man", "systemd", "config"):
        (stage / folder).mkdir(parents=True)
    programs = [BUILD / "bin" / program for program in part.programs]
    missing = [program.name for program in programs if not program.exists()]
    if missing:
        raise DistError(f"{', '.join(missing)} not found in {BUILD / 'bin'}: build first with `./dev build`")
    private, c_library = libraries([*programs, *map(find_library, part.loaded)])
    slots = [f"bin/{program.name} {stage_program(program, stage)} {INTERPRETER_SIZE}\n" for program in programs]
    for library in private:
        stage_library(library, stage / "lib" / library.name, "$ORIGIN:$ORIGIN/../libc")
    for library in c_library:
        shutil.copyfile(library, stage / "glibc" / library.name)
        (stage / "glibc" / library.name).chmod(0o755)  # the kernel executes the loader
    (stage / "interpreter-slots").write_text("".join(slots), encoding="ascii")
    stage_texts(part, stage, epoch)
    notice.write(stage / "NOTICE", BUILD, programs, [*private, *c_library])
    write_sums(stage)
    archive = OUT / f"{name}.tar.gz"
    pack(stage, archive, epoch)
    return archive, newest_glibc([*(stage / "bin").iterdir(), *(stage / "lib").iterdir()])


def version() -> str:
    found = re.search(r"^project\(postern VERSION ([0-9.]+)", (REPO / "CMakeLists.txt").read_text("utf-8"), re.M)
    assert found
    return found.group(1)


def source_date() -> int:
    """Seconds since 1970 that every file of the packages gets as its date."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        if not given.isdigit():
            raise DistError(f"SOURCE_DATE_EPOCH is {given!r}: it has to be a number of seconds")
        return int(given)
    said = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=REPO, capture_output=True, text=True, check=False)
    if said.returncode != 0:
        raise DistError("this is no git checkout, so the date of the packages is unknown: set SOURCE_DATE_EPOCH")
    return int(said.stdout)


def find_library(name: str) -> Path:
    for line in run("ldconfig", "-p").splitlines():
        words = line.split()
        if words[:1] == [name] and "x86-64" in line:
            return Path(words[-1])
    raise DistError(f"{name} is not on this machine: install the package that has it")


def libraries(programs: list[Path]) -> tuple[list[Path], list[Path]]:
    """What programs and libraries need, and the latter themselves: private libraries, and the C library and its loader."""
    found: dict[str, Path] = {}
    for program in programs:
        if ".so" in program.name:
            found[program.name] = program
        for line in run("ldd", str(program)).splitlines():
            words = line.split()
            if "not found" in line:
                raise DistError(f"{program.name} needs {words[0]}, which is not on this machine")
            path = next((word for word in words if word.startswith("/")), None)
            if path:
                found[Path(words[0]).name] = Path(path)
    private = [path for name, path in sorted(found.items()) if name not in C_LIBRARY]
    return private, [path for name, path in sorted(found.items()) if name in C_LIBRARY]


def stage_program(program: Path, stage: Path) -> int:
    """Copies a program without symbols, with its library path and a roomy loader field; returns where that field is."""
    target = stage / "bin" / program.name
    run("strip", "-o", str(target), str(program))
    room = "/" + "." * (INTERPRETER_SIZE - 2)
    run("patchelf", "--set-interpreter", room, str(target))
    run("patchelf", "--set-rpath", "$ORIGIN/../lib:$ORIGIN/../libc", str(target))
    content = bytearray(target.read_bytes())
    offset, size = interpreter_field(content)
    if size != INTERPRETER_SIZE:
        raise DistError(f"{program.name}: the loader field has {size} bytes instead of {INTERPRETER_SIZE}")
    content[offset : offset + size] = LOADER.encode().ljust(size, b"\0")
    target.write_bytes(content)
    target.chmod(0o755)
    return offset


def interpreter_field(elf: bytearray) -> tuple[int, int]:
    """Place and size of PT_INTERP in a 64-bit little-endian ELF file (System V ABI, chapter 5)."""
    (table,) = struct.unpack_from("<Q", elf, 32)
    entry_size, count = struct.unpack_from("<HH", elf, 54)
    for number in range(count):
        kind, _, offset, _, _, size = struct.unpack_from("<IIQQQQ", elf, table + number * entry_size)
        if kind == 3:
            return offset, size
    raise DistError("a program has no loader field: it is not dynamically linked")


def stage_library(source: Path, target: Path, search: str) -> None:
    shutil.copyfile(source, target)
    run("patchelf", "--set-rpath", search, str(target))


def stage_texts(part: Part, stage: Path, epoch: int) -> None:
    pages = OUT / "man"
    pages.mkdir(exist_ok=True)
    moment = time.gmtime(epoch)
    run(str(BUILD / "bin" / "postern-manual"), str(pages), time.strftime(f"%B {moment.tm_mday}, %Y", moment))
    for page in part.manuals:
        shutil.copyfile(pages / page, stage / "man" / page)
    for unit in part.units:
        shutil.copyfile(REPO / "deploy" / "systemd" / unit, stage / "systemd" / unit)
    for entry in part.config_files:
        name = entry.split(":")[0]
        shutil.copyfile(REPO / "deploy" / "packages" / "config" / name, stage / "config" / name)
    shutil.copyfile(REPO / "LICENSE", stage / "LICENSE")
    shutil.copyfile(REPO / "docs" / "guide" / "install.md", stage / "install.md")
    shutil.copyfile(REPO / "deploy" / "packages" / "install.sh", stage / "install.sh")
    (stage / "install.sh").chmod(0o755)
    variables = {
        "part": part.name,
        "version": version(),
        "programs": " ".join(part.programs),
        "manuals": " ".join(part.manuals),
        "units": " ".join(part.units),
        "enabled_units": " ".join(part.enabled_units),
        "user": part.user,
        "group": part.group,
        "config_files": " ".join(part.config_files),
        "state_folders": " ".join(part.state_folders),
    }
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
    (stage / "part.sh").write_text("".join(lines), encoding="ascii")


def write_sums(stage: Path) -> None:
    """Of every file but itself, as `sha256sum -c` reads it."""
    files = sorted(path for path in stage.rglob("*") if path.is_file())
    sums = [f"{digest(path)}  {path.relative_to(stage)}\n" for path in files]
    (stage / "SHA256SUMS").write_text("".join(sums), encoding="ascii")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pack(stage: Path, archive: Path, epoch: int) -> None:
    """Sorted, with one date, one owner and two modes, so that the same files always give the same bytes."""
    with (
        open(archive, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in [stage, *sorted(stage.rglob("*"))]:
            entry = tar.gettarinfo(path, arcname=str(path.relative_to(stage.parent)))
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = epoch, 0, 0, "root", "root"
            entry.mode = 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644
            if path.is_file():
                with open(path, "rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)


def newest_glibc(files: list[Path]) -> str:
    """The newest version of glibc that any of the files asks for."""
    versions = {match for file in files for match in re.findall(r"GLIBC_([0-9.]+)", run("objdump", "-T", str(file)))}
    return max(versions, key=lambda text: [int(number) for number in text.split(".")])


def run(*argv: str) -> str:
    try:
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise DistError(f"{argv[0]} is missing: run ./dev setup") from None
    if result.returncode != 0:
        raise DistError(f"`{' '.join(argv)}` failed: {result.stderr.strip()}")
    return result.stdout
