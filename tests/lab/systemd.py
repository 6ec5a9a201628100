"""Lab hosts on which the real systemd is process 1, so that units and `systemctl` are tried as they are.

systemd gets a PID, mount and cgroup namespace inside the lab host, whose network and file systems it keeps. Of the
machine's own units only targets and the journal are there. Needs a writable cgroup2 hierarchy.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

from .testbed import Host, Lab, await_true

READY_SECONDS = 30.0
_GROUPS = "postern-lab-"
"""The rest of a group's name: the lab's process 1 as the machine numbers it, and the host."""
_UNITS = "/usr/lib/systemd/system"
_KEPT = (
    *("basic", "sysinit", "sockets", "paths", "timers", "slices", "shutdown", "umount", "final", "multi-user"),
    *("local-fs", "local-fs-pre", "network-pre", "network", "network-online", "rescue", "emergency"),
)
_JOURNAL = ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket")

# Once per lab host. /usr is read-only in the lab, and /usr/local belongs to the machine.
_PREPARE = f"""
set -e
mkdir -p /run/units/sockets.target.wants /run/no-generators /run/cgroup
for name in {' '.join(f'{name}.target' for name in _KEPT)} {' '.join(_JOURNAL)}; do
  cp -L {_UNITS}/$name /run/units/
done
for name in {' '.join(_JOURNAL[1:])}; do ln -s ../$name /run/units/sockets.target.wants/; done
mount --bind /run/units {_UNITS}
mount --bind /run/no-generators /usr/lib/systemd/system-generators
mount -t tmpfs tmpfs /usr/local
mkdir -p /usr/local/bin
rm -rf /etc/systemd/system/* /etc/fstab
echo "$1" > /etc/machine-id
mount -t cgroup2 none /run/cgroup
mkdir -p /run/cgroup/$2
"""
# /dev/shm is where the lab keeps its hosts' disks, and what RemoveIPC= of a unit clears of its user's files.
_START = """
echo $$ > /run/cgroup/$1/cgroup.procs
exec unshare -p -C -m --fork --kill-child --mount-proc sh -c '
  umount -R /sys/fs/cgroup 2>/dev/null
  mount -t tmpfs tmpfs /dev/shm
  mount -t cgroup2 none /sys/fs/cgroup && exec env -i container=lab PATH=/usr/sbin:/usr/bin \\
    /usr/lib/systemd/systemd --system --unit=multi-user.target --show-status=no --log-target=console'
"""


class SystemdHost(Host):
    """Commands run beside systemd; its services are where `systemctl` looks for them."""

    def __init__(self, lab: Lab, name: str) -> None:
        super().__init__(lab, name)
        self._outside = lab.host(name)
        self._identity = f"{lab.nonce[:20]}{sum(name.encode()):012x}"
        self._group = f"{_GROUPS}{lab.init_pid}-{self._identity}"
        self._outside.run("sh", "-c", _PREPARE, "sh", self._identity, self._group)
        self._sweep()
        starter = self._outside.spawn(f"systemd-{name}", "sh", "-c", _START, "sh", self._group)
        children = f"/proc/{starter}/task/{starter}/children"
        look = ["sh", "-c", f"cat {children}"]
        self._init = await_true("systemd has started", lambda: self._outside.output(*look), READY_SECONDS)
        ready = ["systemctl", "is-active", "multi-user.target"]
        await_true("systemd is ready", lambda: self.run(*ready, check=False).returncode == 0, READY_SECONDS)

    def run(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return super().run(*self._inside(argv), **options)

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        return super().popen(*self._inside(argv), **options)

    def power_off(self) -> None:
        """Ends everything at once and leaves no control group behind on the machine."""
        self.lab.stop(f"systemd-{self.name}", signal.SIGKILL)
        await_true("its processes are gone", lambda: self._is_removed(self._group), 10)

    def _is_removed(self, group: str) -> bool:
        """Tries to; a group with a process in it stays."""
        path = f"/run/cgroup/{group}"
        remove = ["sh", "-c", f"find {path} -depth -type d -exec rmdir {{}} \\; ; ! test -d {path}"]
        return self._outside.run(*remove, check=False).returncode == 0

    def _sweep(self) -> None:
        """Removes what labs have left behind that were killed. Others may be running beside this one."""
        for group in self._outside.output("ls", "/run/cgroup").split():
            owner = group.removeprefix(_GROUPS).partition("-")[0]
            if group.startswith(_GROUPS) and owner.isdigit() and not Path(f"/proc/{owner}").exists():
                self._is_removed(group)

    def log_of(self, unit: str) -> str:
        return self.output("journalctl", "--no-pager", "-o", "cat", "-u", unit)

    def main_pid(self, unit: str) -> int:
        """As seen beside systemd; 0 while the service does not run."""
        return int(self.output("systemctl", "show", "-p", "MainPID", "--value", unit))

    def _inside(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        return ("nsenter", "-t", self._init, "-m", "-p", "-C", "--", *argv)
