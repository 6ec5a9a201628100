"""The lab itself: what must reach what, what must not, and that the services are real.

Every "cannot reach" has a control that shows the same question succeed where it should.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import probes, services, topology
from lab.paths import REPO
from lab.testbed import Lab, await_true, scratch_run_dir

MIRROR_PORT = 9000


@pytest.fixture(scope="module")
def mirror(lab: Lab) -> None:
    """A plain TCP server on the host `server`, to see from there who connects."""
    probes.serve_mirror(lab.host("server"), "mirror", topology.SERVER, MIRROR_PORT)
    await_true("the mirror listens", lambda: lab.log("mirror"), 10)


def test_the_laptop_and_the_connector_reach_the_server_by_its_public_name(lab: Lab, mirror: None) -> None:
    for name in ("laptop", "connector"):
        assert probes.addresses(lab.host(name), topology.SERVER_NAME) == {topology.SERVER}
        assert probes.connect(lab.host(name), topology.SERVER_NAME, MIRROR_PORT) == "open"


def test_both_nats_hide_who_is_behind_them(lab: Lab, mirror: None) -> None:
    for name, outside in (("laptop", topology.LAPTOP_NAT), ("connector", topology.HOME_NAT)):
        seen, _, _ = probes.ask_mirror(lab.host(name), topology.SERVER, MIRROR_PORT)
        assert seen == outside


def test_connections_use_cubic_at_both_ends_whatever_the_machine_prefers(lab: Lab, mirror: None) -> None:
    _, accepted, connected = probes.ask_mirror(lab.host("laptop"), topology.SERVER, MIRROR_PORT)
    assert (accepted, connected) == ("cubic", "cubic")


@pytest.mark.parametrize("name", topology.HOST_NAMES)
def test_every_route_of_a_host_carries_cubic(lab: Lab, name: str) -> None:
    routes = lab.host(name).output("ip", "-4", "route", "show").splitlines()
    assert routes
    assert [route for route in routes if "congctl cubic" not in route] == []


def test_the_laptop_cannot_reach_the_home_network(lab: Lab) -> None:
    assert probes.connect(lab.host("connector"), topology.NGINX, 80) == "open"
    assert probes.connect(lab.host("laptop"), topology.NGINX, 80) in ("silent", "unreachable")


def test_the_internet_cannot_reach_home_even_with_a_route_to_it(lab: Lab) -> None:
    server, home_nat = lab.host("server"), lab.host("home-nat")
    server.run("ip", "route", "add", topology.HOME_LAN, "via", topology.HOME_NAT)
    try:
        assert probes.connect(server, topology.NGINX, 80) == "silent"
        rules = home_nat.output("nft", "list", "ruleset")
        home_nat.run("nft", "flush", "ruleset")
        try:
            # The control: it was the firewall, not the probe or the route.
            assert probes.connect(server, topology.NGINX, 80) == "open"
        finally:
            home_nat.run("nft", "-f", "-", text=rules)
        assert probes.connect(server, topology.NGINX, 80) == "silent"
    finally:
        server.run("ip", "route", "del", topology.HOME_LAN)


def test_the_internet_cannot_reach_home_by_ipv6_although_it_has_a_route(lab: Lab) -> None:
    assert probes.connect(lab.host("connector"), topology.NGINX6, 80) == "open"
    assert probes.connect(lab.host("connector"), topology.SERVER6, 1) == "refused"
    assert probes.connect(lab.host("server"), topology.NGINX6, 80) == "silent"
    assert probes.connect(lab.host("laptop"), topology.NGINX6, 80) == "silent"


def test_the_nats_answer_only_to_their_inside(lab: Lab) -> None:
    assert probes.connect(lab.host("connector"), "192.168.1.1", 53) == "open"
    for outside in (topology.LAPTOP_NAT, topology.HOME_NAT):
        for port in (22, 53, 80, 443):
            assert probes.connect(lab.host("server"), outside, port, seconds=0.3) == "silent"


def test_home_names_are_known_at_home_only(lab: Lab) -> None:
    for name, address in (("nginx", topology.NGINX), ("ssh", topology.SSH), ("db", topology.DB)):
        assert probes.addresses(lab.host("connector"), f"{name}.home.lan") == {address}
        assert probes.addresses(lab.host("laptop"), f"{name}.home.lan") == set()


def test_nginx_answers_with_the_nonce_of_the_run_on_its_lan(lab: Lab) -> None:
    connector = lab.host("connector")
    for url in ("http://nginx.home.lan", "http://nginx.home.lan:8080", "https://nginx.home.lan"):
        certificate = str(lab.run_dir / "tls.crt")
        assert connector.output("curl", "-sS", "--cacert", certificate, f"{url}/nonce") == lab.nonce


def test_sshd_answers_with_the_nonce_of_the_run_on_its_lan(lab: Lab) -> None:
    command = services.ssh_command(lab, "ssh.home.lan", "cat /run/nonce; echo; hostname")
    assert lab.host("connector").output(*command).split() == [lab.nonce, "ssh"]


def test_postgresql_answers_with_the_nonce_of_the_run_on_its_lan(lab: Lab) -> None:
    command = services.psql_command(lab, "db.home.lan", "-c", "select value from nonce")
    assert lab.host("connector").output(*command, env=services.psql_environment(lab)) == lab.nonce


def test_postgresql_refuses_a_wrong_password(lab: Lab) -> None:
    command = services.psql_command(lab, "db.home.lan", "-c", "select 1")
    wrong = {**services.psql_environment(lab), "PGPASSWORD": "wrong"}
    assert "password authentication failed" in lab.host("connector").run(*command, check=False, env=wrong).stderr


def test_a_gibibyte_goes_down_and_up_with_the_right_checksum_on_the_lan(lab: Lab) -> None:
    big, connector = services.big_file(), lab.host("connector")
    fetched = connector.output("sh", "-c", "curl -sSf http://nginx.home.lan/big | b2sum", seconds=60)
    assert fetched.split()[0] == big.checksum
    connector.run("curl", "-sSf", "-T", str(big.path), "http://nginx.home.lan/upload/lan", seconds=60)
    uploaded = lab.run_dir / "www/public/upload/lan"
    assert services.checksum_of(uploaded) == big.checksum
    uploaded.unlink()


def test_a_host_can_rename_over_its_own_resolv_conf_and_no_other_sees_it(lab: Lab) -> None:
    laptop = lab.host("laptop")
    before = Path("/etc/resolv.conf").read_bytes()
    kept = laptop.output("cat", "/etc/resolv.conf")
    laptop.run("sh", "-c", "echo nameserver 127.0.0.9 > /etc/new && mv /etc/new /etc/resolv.conf")
    assert laptop.output("cat", "/etc/resolv.conf") == "nameserver 127.0.0.9"
    assert lab.host("connector").output("cat", "/etc/resolv.conf") == "search home.lan\nnameserver 192.168.1.1"
    assert Path("/etc/resolv.conf").read_bytes() == before
    laptop.run("sh", "-c", "cat > /etc/resolv.conf", text=kept + "\n")


def test_killing_a_command_from_outside_kills_it_inside(lab: Lab) -> None:
    process = lab.host("laptop").popen("sleep", "4242")
    await_true("it runs", lambda: _pids_of("sleep", "4242"), 5)
    process.kill()
    process.wait()
    await_true("it is gone", lambda: not _pids_of("sleep", "4242"), 5)


def test_lab_exec_passes_output_and_exit_code_through(lab: Lab) -> None:
    result = _lab_cli(lab, "exec", "laptop", "--", "sh", "-c", "hostname; exit 7")
    assert (result.stdout, result.returncode) == ("laptop\n", 7)


def test_lab_exec_gives_the_command_the_callers_terminal(lab: Lab) -> None:
    master, slave = pty.openpty()
    argv = [*_cli(lab), "exec", "laptop", "--", "tty", "-s"]
    process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    assert process.wait(timeout=10) == 0
    os.close(master)
    # The control: without a terminal the same command says so.
    assert _lab_cli(lab, "exec", "laptop", "--", "tty", "-s").returncode == 1


def test_lab_exec_names_the_hosts_when_it_is_given_a_wrong_one(lab: Lab) -> None:
    result = _lab_cli(lab, "exec", "toaster", "--", "true")
    assert result.returncode == 2
    assert "toaster" in result.stderr and "laptop-nat" in result.stderr


def test_lab_status_shows_every_service_running(lab: Lab) -> None:
    result = _lab_cli(lab, "status")
    assert result.returncode == 0
    for name in ("nginx", "sshd", "postgres", "dns-internet", "dns-laptop-nat", "dns-home-nat"):
        assert any(name in line and "running" in line for line in result.stdout.splitlines()), result.stdout


def test_a_second_lab_runs_beside_the_first_and_kill_9_leaves_nothing_of_it(lab: Lab) -> None:
    second = Lab.start(scratch_run_dir("test"))
    second.host("laptop").spawn("stray", "setsid", "sh", "-c", "sleep 4343 & sleep 4343")
    await_true("its processes run", lambda: len(_pids_of("sleep", "4343")) == 2, 5)
    os.kill(second.init_pid, signal.SIGKILL)
    await_true("nothing of it is left", lambda: not _pids_of("sleep", "4343"), 10)
    second.down()
    assert lab.host("laptop").output("hostname") == "laptop"


def test_a_lab_ends_with_the_process_that_started_it() -> None:
    run_dir = scratch_run_dir("test")
    code = (
        "import sys; from pathlib import Path; from lab.testbed import Lab\n"
        "lab = Lab.start(Path(sys.argv[1])); lab.host('db').spawn('stray', 'sleep', '4444'); print('up', flush=True)\n"
        "sys.stdin.read()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(run_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPO / "tests")},
    )
    assert starter.stdout is not None
    assert b"up" in starter.stdout.readline()
    await_true("its process runs", lambda: _pids_of("sleep", "4444"), 5)
    starter.kill()
    starter.wait()
    await_true("the lab has ended", lambda: not _pids_of("sleep", "4444"), 10)


def _pids_of(*argv: str) -> list[int]:
    wanted = "\0".join(argv).encode() + b"\0"
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "cmdline").read_bytes() == wanted:
                found.append(int(folder.name))
        except OSError:
            pass  # It ended while we looked.
    return found


def _cli(lab: Lab) -> list[str]:
    return [str(REPO / "tools/lab"), "--run-dir", str(lab.run_dir)]


def _lab_cli(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_cli(lab), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
    )
