"""Records of other types than addresses: dig on the laptop says what dig says on a machine of the home network.

The name server is the home router's; only the connector can ask it. Names without a resource that this user may reach are
asked of the laptop's own servers, which know nothing of them.
"""

from __future__ import annotations

import signal

import pytest

from lab import name_services, services
from lab.postern import Postern
from lab.services import LONG_TEXT, RECORDS
from lab.testbed import Host, Lab, await_true

SOON_SECONDS = 10.0


@pytest.fixture(scope="module")
def postern(lab: Lab) -> Postern:
    running = Postern(lab)
    running.start_all()
    running.add_resource("zone", f"*.{RECORDS}", tcp="80")
    running.grant("zone")
    await_true("the zone is there", lambda: name_services.sees_resource(running, f"any.{RECORDS}"), SOON_SECONDS)
    return running


def _dig(host: Host, *words: str) -> str:
    return host.output("dig", "+tries=1", "+time=15", *words, seconds=30)


def _records(host: Host, name: str, kind: str, *words: str) -> list[str]:
    """Owner, type and data of each record, in one order."""
    lines = _dig(host, "+noall", "+answer", *words, name, kind).splitlines()
    fields = (line.split(maxsplit=4) for line in lines if line and not line.startswith(";"))
    return sorted(" ".join((owner, kind, data)) for owner, _, _, kind, data in fields)


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        (f"mail.{RECORDS}", "MX", 2),
        (f"mail.{RECORDS}", "TXT", 1),
        (f"mail.{RECORDS}", "CAA", 1),
        (f"mail.{RECORDS}", "NAPTR", 1),
        (f"_ldap._tcp.{RECORDS}", "SRV", 1),
        (f"service.{RECORDS}", "PTR", 1),
        (f"www.{RECORDS}", "CNAME", 1),
        (f"MAIL.{RECORDS}", "TXT", 1),
        (f"mail.{RECORDS}", "SOA", 0),
        (f"nobody.{RECORDS}", "TXT", 0),
        ("nginx.home.lan", "TXT", 1),
        (f"long.{RECORDS}", "TXT", 1),
    ],
)
def test_records_are_those_of_the_lan(lab: Lab, postern: Postern, name: str, kind: str, count: int) -> None:
    here = _records(postern.laptop, name, kind)
    assert len(here) == count
    assert here == _records(lab.host("connector"), name, kind)
    assert here == _records(postern.laptop, name, kind, "+tcp")


def test_an_alias_has_the_records_of_what_it_stands_for(postern: Postern) -> None:
    assert _records(postern.laptop, "web.internal", "TXT") == ['web.internal. TXT "web"']


def test_what_does_not_fit_into_a_datagram_says_so_and_comes_over_tcp(postern: Postern) -> None:
    cut = _dig(postern.laptop, "+ignore", f"long.{RECORDS}", "TXT")
    flags = next(line for line in cut.splitlines() if line.startswith(";; flags:"))
    assert " tc" in flags.split(";")[2]
    assert "ANSWER: 0" in flags
    whole = _dig(postern.laptop, "+short", f"long.{RECORDS}", "TXT")
    assert whole.replace('" "', "").strip('"\n') == LONG_TEXT


def test_the_names_in_records_are_resources_as_usual(postern: Postern) -> None:
    assert _records(postern.laptop, f"mail.{RECORDS}", "MX")[1].endswith(f"20 nginx.home.lan.")
    assert name_services.sees_resource(postern, "nginx.home.lan")
    assert name_services.sees_resource(postern, f"smtp.{RECORDS}")


def test_records_that_carry_addresses_are_not_told(lab: Lab, postern: Postern) -> None:
    assert _records(lab.host("connector"), f"mail.{RECORDS}", "TYPE65") != []
    for kind in ("TYPE65", "ANY"):
        said = _dig(postern.laptop, f"mail.{RECORDS}", kind)
        assert "status: NOERROR" in said and "ANSWER: 0" in said


def test_who_may_not_reach_a_name_gets_no_records_of_it(lab: Lab, postern: Postern) -> None:
    secret = "secret.other.lan"
    there = _records(lab.host("connector"), secret, "TXT")
    assert len(there) == 1
    postern.add_resource("secret", secret, tcp="80")
    assert _records(postern.laptop, secret, "TXT") == []
    postern.grant("secret")
    await_true("a granted name has records", lambda: _records(postern.laptop, secret, "TXT") == there, SOON_SECONDS)
    postern.revoke("secret")
    await_true("a revoked one has none", lambda: _records(postern.laptop, secret, "TXT") == [], SOON_SECONDS)


def test_a_name_server_that_is_away_is_a_failure_and_no_answer(lab: Lab, postern: Postern) -> None:
    lab.stop("dns-home-nat", signal.SIGKILL)
    try:
        assert "status: SERVFAIL" in _dig(postern.laptop, f"mail.{RECORDS}", "TXT")
    finally:
        services.start_home_dns(lab)
    again = lambda: len(_records(postern.laptop, f"mail.{RECORDS}", "TXT")) == 1  # noqa: E731
    await_true("it is asked again", again, SOON_SECONDS)
