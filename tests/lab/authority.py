"""A certificate authority that the lab's hosts trust, in place of a public one."""

from __future__ import annotations

from pathlib import Path

from .testbed import Lab

_FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
_LIFE_DAYS = 30


class Authority:
    """Its files lie in the lab's run folder, which all hosts see at the same path."""

    def __init__(self, lab: Lab) -> None:
        self._host = lab.host("internet")
        self._folder: Path = lab.run_dir / "authority"
        self._folder.mkdir()
        self._serial = 0
        subject = ["-subj", "/CN=Public authority of the lab", "-days", str(_LIFE_DAYS)]
        self._openssl("req", "-x509", *self._new_key("ca"), *subject, "-out", self.path("ca.crt"))
        self.pem = Path(self.path("ca.crt")).read_text("ascii")

    def path(self, name: str) -> str:
        return str(self._folder / name)

    def be_trusted(self, lab: Lab, *hosts: str) -> None:
        """Puts the authority among those of a host, under a hashed name as update-ca-certificates does."""
        digest = self._openssl("x509", "-noout", "-hash", "-in", self.path("ca.crt"))
        for name in hosts:
            lab.host(name).run("cp", self.path("ca.crt"), f"/etc/ssl/certs/{digest}.0")

    def issue(self, name: str, host: str, from_day: int = 0) -> tuple[str, str]:
        """Makes NAME.pem, the leaf for `host` with its authority behind it, and NAME.key; returns both paths.

        It is valid for 30 days from today plus `from_day`.
        """
        cert, key = self.path(f"{name}.pem"), self.path(f"{name}.key")
        self._serial += 1
        Path(self.path("extensions")).write_text(f"subjectAltName=DNS:{host}\n", "ascii")
        request = self.path("request.csr")
        self._openssl("req", "-new", *self._new_key(name), "-subj", f"/CN={host}", "-out", request)
        signed_by = ["-CA", self.path("ca.crt"), "-CAkey", self.path("ca.key"), "-set_serial", str(self._serial)]
        fields = ["-days", str(_LIFE_DAYS), "-extfile", self.path("extensions"), "-out", cert]
        clock = {"LD_PRELOAD": _FAKETIME, "FAKETIME": f"{from_day:+d}d"}
        self._host.run("openssl", "x509", "-req", "-in", request, *signed_by, *fields, env=clock)
        Path(cert).write_text(Path(cert).read_text("ascii") + self.pem, "ascii")
        Path(key).chmod(0o600)
        return cert, key

    def _new_key(self, name: str) -> list[str]:
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        return [*curve, "-nodes", "-keyout", self.path(f"{name}.key")]

    def _openssl(self, *words: str) -> str:
        return self._host.output("openssl", *words)
