#!/usr/bin/env python3
"""The real postern-connector: flags, bad input, and life without a server. Usage: smoke_test.py PROGRAM

Every refusal is one line on standard error and the documented exit code; nothing here needs root or the internet.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

PROGRAM = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else "postern-connector"
OK, FAILURE, USAGE, WRONG_NETWORK, BAD_TOKEN = 0, 1, 2, 9, 13
REFRESH = "ptr1_" + base64.urlsafe_b64encode(bytes(32)).decode().rstrip("=")


def encode(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def access_token(**changes: object) -> str:
    """Nobody verifies it here: the holder only reads where its server is. It expired in 1970."""
    claims = {"iss": "home", "aud": "home", "nt": "AN", "aid": "5", "tid": "1", "rnetid": "3", "jti": "j", "iat": 1,
              "rnw": 2, "exp": 3601, "ver": "4", "url": f"https://127.0.0.1:{free_port()}", "ca": ""}
    header = {"typ": "postern-access+jwt", "alg": "ES256", "kid": "k"}
    signature = base64.urlsafe_b64encode(bytes(64)).decode().rstrip("=")
    return f"{encode(header)}.{encode({**claims, **changes})}.{signature}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**variables: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "POSTERN_CONFIG": "", "POSTERN_ACCESS_TOKEN": access_token(),
            "POSTERN_REFRESH_TOKEN": REFRESH, "POSTERN_HEALTH_PORT": "0",
            "POSTERN_API_ENDPOINT": "/nonexistent/connector.sock", **variables}


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], env=environment(**variables), capture_output=True, text=True,
                          check=False, timeout=30)


class BadInput(unittest.TestCase):
    def refused(self, code: int, *words: str, arguments: tuple[str, ...] = (), **variables: str) -> None:
        result = run(*arguments, **variables)
        self.assertEqual(code, result.returncode, result.stderr)
        self.assertEqual(1, result.stderr.count("\n"), result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    def test_missing_variables(self) -> None:
        self.refused(USAGE, "POSTERN_ACCESS_TOKEN", POSTERN_ACCESS_TOKEN="")
        self.refused(USAGE, "POSTERN_REFRESH_TOKEN", POSTERN_REFRESH_TOKEN="")

    def test_bad_tokens(self) -> None:
        for token in ("x", "a.b.c", "é" * 40, access_token()[40:], access_token(aid="none"), access_token(url=5)):
            self.refused(BAD_TOKEN, "access token", POSTERN_ACCESS_TOKEN=token)
        self.refused(BAD_TOKEN, "refresh token", POSTERN_REFRESH_TOKEN="hunter2")
        self.refused(BAD_TOKEN, "certificate", POSTERN_ACCESS_TOKEN=access_token(ca="AAAA"))

    def test_secrets_are_never_printed(self) -> None:
        self.assertNotIn("hunter2", run(POSTERN_REFRESH_TOKEN="hunter2").stderr)

    def test_wrong_network(self) -> None:
        self.refused(WRONG_NETWORK, "office", "home", POSTERN_NETWORK="office")
        self.refused(WRONG_NETWORK, "office", TWINGATE_NETWORK="https://office.example.org")

    def test_bad_values(self) -> None:
        self.refused(USAGE, "https://", POSTERN_URL="http://127.0.0.1")
        self.refused(USAGE, "POSTERN_LOG_LEVEL", "warn", POSTERN_LOG_LEVEL="loud")
        self.refused(USAGE, "POSTERN_DNS", POSTERN_DNS="not an address")
        self.refused(USAGE, "POSTERN_TIMESTAMP_FORMAT", POSTERN_TIMESTAMP_FORMAT="3")
        self.refused(USAGE, "--nonsense", arguments=("--nonsense",))

    def test_tokens_are_no_flags(self) -> None:
        self.refused(USAGE, arguments=("--access-token", "x"))


class Help(unittest.TestCase):
    def test_help_and_version(self) -> None:
        for flag in ("--help", "-h"):
            result = run(flag)
            self.assertEqual(OK, result.returncode)
            self.assertIn("POSTERN_ACCESS_TOKEN", result.stdout)
            self.assertIn("TWINGATE_NETWORK", result.stdout)
        self.assertRegex(run("--version").stdout, r"^postern-connector \d+\.\d+\.\d+\n$")


class WithoutServer(unittest.TestCase):
    """It goes on trying, and never says that it is connected."""

    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.socket = os.path.join(self.folder.name, "connector.sock")
        self.port = free_port()
        self.variables = {"POSTERN_HEALTH_PORT": str(self.port), "POSTERN_API_ENDPOINT": self.socket,
                          "POSTERN_LOG_LEVEL": "info"}
        self.process = subprocess.Popen([PROGRAM], env=environment(**self.variables), stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.await_true(lambda: os.path.exists(self.socket))

    def tearDown(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.folder.cleanup()

    def await_true(self, condition: object) -> None:
        end = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), end)
            self.assertIsNone(self.process.poll())
            time.sleep(0.01)

    def test_health_says_no_in_every_way(self) -> None:
        for path in ("healthcheck", "healthz", "readyz"):
            with self.assertRaises(urllib.error.HTTPError) as answer:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=10)
            self.assertEqual(503, answer.exception.code)
            self.assertIn("not connected to the server", answer.exception.read().decode())
            answer.exception.close()
        asked = run("health", **self.variables)
        self.assertEqual((FAILURE, ""), (asked.returncode, asked.stderr))
        self.assertIn("not connected to the server", asked.stdout)
        over_http = run("health", **{**self.variables, "POSTERN_API_ENDPOINT": "/nonexistent/x.sock"})
        self.assertIn("not connected to the server", over_http.stdout)

    def test_a_second_one_goes_on_without_the_taken_port(self) -> None:
        second = subprocess.Popen([PROGRAM], env=environment(**self.variables), stdout=subprocess.PIPE, text=True)
        try:
            lines = [second.stdout.readline() for _ in range(3)]
            self.assertTrue(any("9999" in line or str(self.port) in line for line in lines), lines)
            self.assertIn("Connector started successfully\n", lines)
            self.assertIsNone(second.poll())
        finally:
            second.terminate()
            self.assertEqual(OK, second.wait(20))
            second.stdout.close()

    def test_it_starts_and_ends_politely(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        output, errors = self.process.communicate(timeout=20)
        self.assertEqual((OK, ""), (self.process.returncode, errors))
        self.assertIn("Connector started successfully\n", output)
        self.assertIn("[INFO] [connector] State: Authentication\n", output)
        self.assertIn("[INFO] [connector] State: Offline", output)
        self.assertNotIn("Connected to Postern network", output)
        self.assertFalse(os.path.exists(self.socket))


if __name__ == "__main__":
    unittest.main()
