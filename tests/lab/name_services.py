"""The owners of a laptop's DNS, as distributions set them up: a plain file, systemd-resolved, resolvconf, NetworkManager.

Each class makes the laptop a machine of that kind: `install` on a fresh disk, `boot` after every start of the machine.
None of these services needs systemd as process 1: the D-Bus daemon is started by hand, and so are they.
"""

from __future__ import annotations

import signal
from ipaddress import ip_address, ip_network

from . import probes
from .postern import Postern
from .testbed import Host, Lab, LabError, await_true
from .topology import LAPTOP

UPSTREAM = "192.168.77.1"
UPSTREAM6 = "2001:db8:77::1"
SEARCH = "lan.example"
READY_SECONDS = 15.0
VIRTUAL = ip_network("100.96.0.0/12")


class NameService:
    """A kind of laptop."""

    manager = "file"
    """What `postern status` calls it."""
    split = False
    """Whether only names of resources go to Postern."""
    mounted_before_restore = False
    """Whether boot() has to come first because it mounts the very file."""
    package = ""
    """One of debs.ALTERNATIVES."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @property
    def laptop(self) -> Host:
        return self.lab.host("laptop")

    def install(self) -> None:
        """On a fresh disk, before the first boot()."""

    def boot(self) -> None:
        """Starts what such a machine starts before posternd. Nothing of it runs yet."""

    def stop(self) -> None:
        """Ends what boot() started."""

    def state(self) -> str:
        """Everything about DNS on this laptop that must be as before when Postern has gone."""
        looks = "ls -lLn --time-style=+ /etc/resolv.conf; readlink /etc/resolv.conf; cat /etc/resolv.conf; ls -A /etc"
        return self.laptop.run("sh", "-c", looks).stdout

    def has_booted(self) -> bool:
        return self.laptop.run("getent", "ahostsv4", "www.example.org", check=False).returncode == 0


class PlainFile(NameService):
    """/etc/resolv.conf as somebody wrote it, with a mode and an owner of its own."""

    def install(self) -> None:
        text = f"# by hand\nsearch {SEARCH}\nnameserver {UPSTREAM}\noptions timeout:2\n"
        self.laptop.run("sh", "-c", "rm -f /etc/resolv.conf; cat > /etc/resolv.conf", text=text)
        self.laptop.run("sh", "-c", "chmod 640 /etc/resolv.conf; chown 0:992 /etc/resolv.conf")


class Ipv6File(NameService):
    """A name server with an IPv6 address and no other."""

    def install(self) -> None:
        self.laptop.run("sh", "-c", "rm -f /etc/resolv.conf; cat > /etc/resolv.conf", text=f"nameserver {UPSTREAM6}\n")


class Link(NameService):
    """/etc/resolv.conf as a link to a file that no running service looks after."""

    def install(self) -> None:
        text = f"nameserver {UPSTREAM}\n"
        self.laptop.run("sh", "-c", "cat > /etc/resolv.conf.office", text=text)
        self.laptop.run("ln", "-sf", "resolv.conf.office", "/etc/resolv.conf")


class BindMount(PlainFile):
    """/etc/resolv.conf mounted from elsewhere, as containers have it: no rename onto it (EBUSY)."""

    mounted_before_restore = True

    def install(self) -> None:
        super().install()
        self.laptop.run("sh", "-c", "mkdir -p /var/lib/host; cp -p /etc/resolv.conf /var/lib/host/")

    def boot(self) -> None:
        self.laptop.run("mount", "--bind", "/var/lib/host/resolv.conf", "/etc/resolv.conf")
        moved = self.laptop.run("mv", "/etc/resolv.conf", "/etc/moved", check=False)
        if "busy" not in moved.stderr:
            raise LabError(f"the bind mount did not refuse a rename: {moved.stdout}{moved.stderr}")


class FileBesideBus(PlainFile):
    """A plain file on a host with a bus on which nothing about DNS runs."""

    def boot(self) -> None:
        start_bus(self.lab)


def start_bus(lab: Lab) -> None:
    """The system's D-Bus, where it does not run."""
    if lab.is_running("dbus"):
        return
    laptop = lab.host("laptop")
    laptop.run("mkdir", "-p", "/run/dbus")
    laptop.spawn("dbus", "dbus-daemon", "--system", "--nofork", "--nopidfile")
    there = lambda: laptop.run("test", "-S", "/run/dbus/system_bus_socket", check=False).returncode == 0  # noqa: E731
    await_true("the bus is there", there, READY_SECONDS)


class OnBus(NameService):
    """A service of the system's D-Bus."""

    daemon = ""
    log = ""

    def boot(self) -> None:
        start_bus(self.lab)
        self.start()

    def start(self) -> None:
        """The service itself; also after stop_service."""
        raise NotImplementedError

    def stop_service(self) -> None:
        self.lab.stop(self.log, signal.SIGTERM)

    def stop(self) -> None:
        for name in (self.log, "dbus"):
            if self.lab.is_running(name):
                self.lab.stop(name, signal.SIGTERM)


class Resolved(OnBus):
    """systemd-resolved with its stub, the way Debian, Fedora and Ubuntu install it."""

    manager = "systemd-resolved"
    split = True
    log = "systemd-resolved"

    def install(self) -> None:
        text = f"[Resolve]\nDNS={UPSTREAM}\nFallbackDNS=\nDNSSEC=no\nLLMNR=no\nMulticastDNS=no\n"
        self.laptop.run("sh", "-c", "mkdir -p /etc/systemd; cat > /etc/systemd/resolved.conf", text=text)
        self.laptop.run("ln", "-sf", "../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf")

    def start(self) -> None:
        self.laptop.run("install", "-d", "-o", "994", "-g", "994", "/run/systemd/resolve")
        self.laptop.spawn(self.log, "/usr/lib/systemd/systemd-resolved")
        await_true("systemd-resolved answers", self.has_booted, READY_SECONDS)

    def state(self) -> str:
        return super().state() + self.laptop.output("resolvectl", "status", "--no-pager")


class NetworkManager(OnBus):
    """NetworkManager that writes /etc/resolv.conf itself; it also configures the laptop's card."""

    manager = "NetworkManager"
    log = "NetworkManager"
    rc_manager = "file"
    plugin = "default"

    _CONFIG = """
[main]
plugins=keyfile
dns={plugin}
rc-manager={rc_manager}
auth-polkit=false
no-auto-default=*
[keyfile]
path=/var/lib/lab-nm/connections
[connectivity]
enabled=false
"""
    _CONNECTION = f"""
[connection]
id=wired
type=ethernet
interface-name=eth0
[ipv4]
method=manual
address1={LAPTOP}/24,{UPSTREAM}
dns={UPSTREAM};
dns-search={SEARCH};
[ipv6]
method=disabled
"""

    def install(self) -> None:
        # Apart from /etc/NetworkManager, so that nothing of the machine below is read.
        self.laptop.run("install", "-d", "-m", "700", "/var/lib/lab-nm/connections", "/var/lib/NetworkManager")
        config = self._CONFIG.format(rc_manager=self.rc_manager, plugin=self.plugin)
        self.laptop.run("sh", "-c", "cat > /var/lib/lab-nm/NetworkManager.conf", text=config)
        connection = "/var/lib/lab-nm/connections/wired.nmconnection"
        self.laptop.run("sh", "-c", f"umask 077; cat > {connection}", text=self._CONNECTION)
        self.laptop.run("rm", "-f", "/etc/resolv.conf")

    def boot(self) -> None:
        # A read-only /sys tells NetworkManager that no udev runs here, and shows it this host's own interfaces.
        self.laptop.run("mount", "-t", "sysfs", "-o", "ro", "sysfs", "/sys")
        # An address that is there already makes it leave the card to whoever set it.
        self.laptop.run("ip", "addr", "flush", "dev", "eth0")
        super().boot()

    def start(self) -> None:
        where = "/var/lib/lab-nm"
        files = [f"--config={where}/NetworkManager.conf", f"--config-dir={where}/conf.d"]
        files += [f"--system-config-dir={where}/system", f"--intern-config={where}/intern.conf"]
        self.laptop.spawn(self.log, "NetworkManager", "--no-daemon", *files, f"--state-file={where}/state")
        await_true("NetworkManager has set the card up", self.has_booted, READY_SECONDS)

    def state(self) -> str:
        seen = self.laptop.run("nmcli", "-g", "IP4.ADDRESS,IP4.DNS,IP4.DOMAIN", "device", "show", "eth0")
        folder = self.laptop.run("sh", "-c", "ls -A /run/NetworkManager/conf.d 2>/dev/null", check=False)
        return super().state() + seen.stdout + folder.stdout


class NetworkManagerLink(NetworkManager):
    """The same with /etc/resolv.conf as a link into its volatile folder."""

    rc_manager = "symlink"

    def install(self) -> None:
        super().install()
        self.laptop.run("ln", "-s", "/run/NetworkManager/resolv.conf", "/etc/resolv.conf")


class NetworkManagerDnsmasq(NetworkManager):
    """The same with a dnsmasq of its own on 127.0.0.1, the only server in /etc/resolv.conf."""

    plugin = "dnsmasq"


class DebianResolvconf(NameService):
    """Debian's resolvconf: /etc/resolv.conf is a link to a file in /run that it makes from records."""

    manager = "resolvconf"
    package = "resolvconf"

    def install(self) -> None:
        self.laptop.run("ln", "-sf", "../run/resolvconf/resolv.conf", "/etc/resolv.conf")

    def boot(self) -> None:
        self.laptop.run("mkdir", "-p", "/run/resolvconf/interface")
        self.laptop.run("resolvconf", "--enable-updates")
        self._add_card()

    def _add_card(self) -> None:
        record = f"nameserver {UPSTREAM}\nsearch {SEARCH}\n"
        self.laptop.run("resolvconf", "-a", "eth0.dhclient", text=record)

    def state(self) -> str:
        records = self.laptop.run("sh", "-c", "resolvconf -l; find /run/resolvconf -type f | sort")
        return super().state() + records.stdout


class Openresolv(DebianResolvconf):
    """openresolv, as Arch, Alpine and Gentoo have it: /etc/resolv.conf is a file that it writes."""

    package = "openresolv"

    def install(self) -> None:
        self.laptop.run("rm", "-f", "/etc/resolv.conf")

    def boot(self) -> None:
        self._add_card()


class NetworkManagerResolvconf(NetworkManager):
    """NetworkManager that gives what it knows to Debian's resolvconf."""

    manager = "resolvconf"
    package = "resolvconf"
    rc_manager = "resolvconf"

    def install(self) -> None:
        super().install()
        self.laptop.run("ln", "-sf", "../run/resolvconf/resolv.conf", "/etc/resolv.conf")

    def boot(self) -> None:
        self.laptop.run("mkdir", "-p", "/run/resolvconf/interface")
        self.laptop.run("resolvconf", "--enable-updates")
        super().boot()


def make_laptop(postern: Postern, service: NameService) -> None:
    """A new laptop of this kind in place of the old one, with Postern signed in and online."""
    postern.lab.reboot("laptop", package=service.package, wipe=True)
    service.install()
    service.boot()
    await_true("the laptop's own DNS works", service.has_booted, READY_SECONDS)
    postern.network_before_client = ""
    postern.start_client()
    postern.login()
    postern.await_online()


def sees_resource(postern: Postern, name: str) -> bool:
    """Whether programs on the laptop get an address of Postern for this name."""
    return any(ip_address(address) in VIRTUAL for address in probes.addresses(postern.laptop, name))


ALL = (
    *(PlainFile, Link, BindMount, Resolved, DebianResolvconf, Openresolv, NetworkManager, NetworkManagerLink),
    *(NetworkManagerDnsmasq, NetworkManagerResolvconf),
)
