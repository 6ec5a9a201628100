"""Makes the lab's hosts and wires them up. Runs only inside the lab's process 1 (init.py).

A host is one process that sleeps in its own network, mount and host name namespace; whoever joins these three is "on"
that host. They have no names in the file system, so nothing can outlive the lab: when process 1 dies the kernel kills
the sleepers, and with them go the namespaces, links, mounts and rules.

What a host sees of the file system: the machine's own, with the unpacked programs laid over /usr, and private
writable /etc, /var and /run in memory. /etc is an overlay so that a rename onto /etc/resolv.conf works as on a real
machine; the checkout stays visible and writable at its own path.

What a host writes to /etc and /var is its disk: it is kept outside of the host, so it is there again after a reboot
(reboot()), while /run, processes, links and mounts are gone.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import debs, kernel
from .paths import BIN, HOST_BIN, REPO
from .topology import HOSTS, HOSTS_FILE, Host

# The machine's default congestion control may be BBR, which paces by timers and halves what virtual links carry.
CONGESTION = "cubic"
QUEUE_PACKETS = 1000
DISKS = "/dev/shm/disks"
"""In the lab's own /dev/shm (init.py), so that it is gone with the lab."""

_USERS = """messagebus:x:993:993:D-Bus in the lab:/nonexistent:/usr/sbin/nologin
systemd-resolve:x:994:994:systemd-resolved in the lab:/nonexistent:/usr/sbin/nologin
sshd:x:990:65534:sshd in the lab:/run/sshd:/usr/sbin/nologin
postgres:x:991:991:PostgreSQL in the lab:/run/postgresql:/bin/sh
person:x:4242:4242:A user without rights:/run/person:/bin/sh
postern:x:992:992:connector in the lab:/nonexistent:/usr/sbin/nologin
"""
_GROUPS = "messagebus:x:993:\nsystemd-resolve:x:994:\npostgres:x:991:\npostern:x:992:\n"


@dataclass(frozen=True)
class Setup:
    """What a rebooted host is made of."""

    package: str = ""
    """One of debs.ALTERNATIVES, laid over /usr and /etc."""
    wipe: bool = False
    """A new disk: another machine under the same name."""


def environment() -> dict[str, str]:
    """What a command on a lab host has in its environment; /usr/local is left out, it belongs to the machine."""
    return {
        "PATH": f"{HOST_BIN}:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin",
        "HOME": "/run/home",
        "LANG": "C.UTF-8",
    }


def start(tree: Path) -> dict[str, int]:
    """Starts one sleeper per host and connects them; returns their process ids, as seen in the lab."""
    sleepers = {host.name: _start_sleeper(host, tree, Setup()) for host in HOSTS}
    _create_links(sleepers)
    for host in HOSTS:
        _configure(host, sleepers[host.name])
    return sleepers


def reboot(host: Host, tree: Path, sleepers: dict[str, int], setup: Setup) -> None:
    """Pulls the plug of a host and starts it again: every process on it is killed at once, only its disk stays."""
    old = sleepers[host.name]
    place = os.readlink(f"/proc/{old}/ns/mnt")
    doomed = [pid for pid in _processes() if pid != old and _namespace(pid) == place]
    # Stopped first: none may see another one die and still do something about it.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in (*doomed, old):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    os.waitpid(old, 0)
    _await_links_gone(host, sleepers)
    if setup.wipe:
        shutil.rmtree(_disk(host))
    sleepers[host.name] = _start_sleeper(host, tree, setup)
    _create_links(sleepers, only=host)
    _configure(host, sleepers[host.name])
    for peer in {link.peer_host for link in host.interfaces}:
        _configure_links_of(host, peer, sleepers[peer])


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""  # It has ended meanwhile.


def _await_links_gone(host: Host, sleepers: dict[str, int]) -> None:
    """The kernel takes a dead host's links away in the background."""
    for link in host.interfaces:
        peer = sleepers[link.peer_host]
        while True:
            asked = subprocess.run(
                ["ip", "link", "show", "dev", link.peer_name],
                capture_output=True,
                check=False,
                env=environment(),
                preexec_fn=lambda peer=peer: join(peer),
            )
            if asked.returncode != 0:
                break


def join(pid: int) -> None:
    """Moves the calling process onto the host of this sleeper; the mount namespace last, it holds /proc."""
    for kind in ("net", "uts", "mnt"):
        kernel.setns(f"/proc/{pid}/ns/{kind}")


def _disk(host: Host) -> str:
    """Where what a host writes is kept; in memory, and gone with the lab."""
    return f"{DISKS}/{host.name}"


def _start_sleeper(host: Host, tree: Path, setup: Setup) -> int:
    ready_read, ready_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become_host(host, tree, setup)
            os.write(ready_write, b"ok")
        except BaseException as error:  # noqa: BLE001 - a forked child must never return into the parent's code
            os.write(ready_write, f"host {host.name}: {error}".encode())
            os._exit(1)
        os.close(ready_write)
        while True:
            signal.pause()
    os.close(ready_write)
    with os.fdopen(ready_read, "rb") as pipe:
        answer = pipe.read().decode()
    if answer != "ok":
        raise RuntimeError(answer or f"host {host.name}: died while starting")
    return pid


def _become_host(host: Host, tree: Path, setup: Setup) -> None:
    kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS)
    kernel.set_hostname(host.name)
    is_new = not os.path.exists(_disk(host))
    _mount_private_file_system(host, tree, setup)
    if is_new:
        _write_etc(host)
    _write_sysctls(host)


def _mount_private_file_system(host: Host, tree: Path, setup: Setup) -> None:
    extra = str(debs.alternative(tree, setup.package)) if setup.package else ""
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    checkout = os.open(REPO, os.O_PATH)
    kernel.mount("tmpfs", "/run", "tmpfs", data="mode=755")
    for name in ("home", "lock", "sshd", "postgresql", "lab", "bin"):
        os.makedirs(f"/run/{name}")
    kernel.mount("overlay", "/usr", "overlay", data="lowerdir=" + (f"{extra}/usr:" if extra else "") + f"{tree}/usr:/usr")
    _overlay("/etc", _disk(host), (f"{extra}/etc:" if extra else "") + f"/etc:{tree}/etc")
    # Without the tree's /var: a checkout below /var would be a layer inside a layer, which overlayfs refuses.
    _overlay("/var", _disk(host), "/var")
    os.makedirs("/var/lib/nginx", exist_ok=True)
    # A checkout below /var would now be seen through the overlay and its logs would vanish: put the real one back.
    kernel.mount(f"/proc/self/fd/{checkout}", str(REPO), flags=kernel.MS_BIND | kernel.MS_REC)
    os.close(checkout)
    kernel.mount(str(BIN), HOST_BIN, flags=kernel.MS_BIND)


def _overlay(target: str, disk: str, lower: str) -> None:
    upper, work = f"{disk}{target}/upper", f"{disk}{target}/work"
    os.makedirs(upper, exist_ok=True)
    os.makedirs(work, exist_ok=True)
    kernel.mount("overlay", target, "overlay", data=f"lowerdir={lower},upperdir={upper},workdir={work}")


def _write_etc(host: Host) -> None:
    _replace("/etc/hostname", host.name + "\n")
    _replace("/etc/hosts", HOSTS_FILE.format(name=host.name))
    search = f"search {host.search}\n" if host.search else ""
    _replace("/etc/resolv.conf", search + (f"nameserver {host.dns}\n" if host.dns else ""))
    _replace("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    for path, extra in (("/etc/passwd", _USERS), ("/etc/group", _GROUPS)):
        added = {line.split(":")[0] for line in extra.splitlines()}
        kept = [line for line in Path(path).read_text("utf-8").splitlines(True) if line.split(":")[0] not in added]
        _replace(path, "".join(kept) + extra)


def _replace(path: str, text: str) -> None:
    """Writes a new file, because the old one may be a link that leads out of the overlay."""
    Path(path).unlink(missing_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def _write_sysctls(host: Host) -> None:
    settings = {
        "net/ipv4/ip_forward": "1" if host.router else "0",
        "net/ipv6/conf/all/forwarding": "1" if host.router else "0",
        # Addresses work at once: nobody else on these links could have them.
        "net/ipv6/conf/default/accept_dad": "0",
        "net/ipv6/conf/all/accept_dad": "0",
        "net/ipv6/conf/default/accept_ra": "0",
        # Lets any user open ping sockets, as Docker and systemd do; the connector needs it for ICMP.
        "net/ipv4/ping_group_range": "0 2147483647",
    }
    # Where Docker runs, bridges pass their frames through the firewall; a home switch does not.
    if Path("/proc/sys/net/bridge").exists():
        settings["net/bridge/bridge-nf-call-iptables"] = "0"
        settings["net/bridge/bridge-nf-call-ip6tables"] = "0"
    for name, value in settings.items():
        Path("/proc/sys", name).write_text(value, encoding="ascii")
    # A namespace may only choose a default that the machine allows to everybody; where cubic is not among those, the
    # routes alone carry it (_bring_up).
    with contextlib.suppress(PermissionError):
        Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text(CONGESTION, encoding="ascii")


def _create_links(sleepers: dict[str, int], only: Host | None = None) -> None:
    lines = []
    for host in [only] if only else HOSTS:
        for link in host.interfaces:
            near, far = sleepers[host.name], sleepers[link.peer_host]
            lines.append(f"link add {link.name} netns {near} type veth peer name {link.peer_name} netns {far}")
    _ip_batch(lines)


def _configure(host: Host, sleeper: int) -> None:
    if host.firewall:
        _on(sleeper, ["nft", "-f", "-"], host.firewall)
    lines = ["link set lo up"]
    for name, addresses in host.bridges:
        lines += [f"link add {name} type bridge", *_bring_up(name, addresses)]
    for link in host.interfaces:
        lines += _bring_up(link.name, link.addresses)
    for other in HOSTS:
        lines += _peer_links(other, host.name)
    for prefix, gateway in (*(("default", gateway) for gateway in host.gateways), *host.routes):
        lines.append(f"route add {prefix} via {gateway} congctl {CONGESTION}")
    _on(sleeper, ["ip", "-batch", "-"], "\n".join(lines))


def _peer_links(host: Host, peer: str) -> list[str]:
    """What a host does with its ends of the links of another one."""
    lines = []
    for link in (link for link in host.interfaces if link.peer_host == peer):
        lines += [f"link set {link.peer_name} master {link.bridge}"] if link.bridge else []
        lines += _bring_up(link.peer_name, link.peer_addresses)
    return lines


def _configure_links_of(host: Host, peer: str, sleeper: int) -> None:
    _on(sleeper, ["ip", "-batch", "-"], "\n".join(_peer_links(host, peer)))


def _bring_up(name: str, addresses: tuple[str, ...]) -> list[str]:
    lines = [f"link set {name} txqueuelen {QUEUE_PACKETS} up"]
    for address in addresses:
        interface = ipaddress.ip_interface(address)
        connected = f"{interface.network} dev {name} proto kernel congctl {CONGESTION}"
        source = f" scope link src {interface.ip}" if interface.version == 4 else ""
        lines += [f"addr add {address} dev {name}", f"route replace {connected}{source}"]
    return lines


def _ip_batch(lines: list[str]) -> None:
    _checked(["ip", "-batch", "-"], "\n".join(lines), None)


def _on(sleeper: int, argv: list[str], text: str) -> None:
    _checked(argv, text, lambda: join(sleeper))


def _checked(argv: list[str], text: str, before: object) -> None:
    # preexec_fn is safe here: this process has one thread.
    result = subprocess.run(
        argv, input=text, text=True, capture_output=True, check=False, env=environment(), preexec_fn=before
    )
    if result.returncode != 0:
        raise RuntimeError(f"`{' '.join(argv)}` failed: {result.stderr.strip()}\n{text}")
