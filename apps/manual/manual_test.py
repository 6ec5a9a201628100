#!/usr/bin/env python3
"""The manual pages: two formatters read them without a complaint, and every option of --help is in them.

Usage: manual_test.py PROGRAM, in whose folder the other programs are.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM = Path(sys.argv.pop(1)).resolve()
PAGES = {"postern.1": "postern", "posternd.8": "posternd", "postern-connector.8": "postern-connector",
         "postern-server.8": "postern-server", "postern-server-admin.8": "postern-server"}


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=60)


class Manual(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.pages = Path(self.folder.name)
        made = run(PROGRAM, self.pages, "November 22, 2026")
        self.assertEqual((0, ""), (made.returncode, made.stderr))

    def tearDown(self) -> None:
        self.folder.cleanup()

    def text(self, page: str) -> str:
        shown = run("mandoc", "-T", "utf8", self.pages / page)
        self.assertEqual(0, shown.returncode, shown.stderr)
        return re.sub(".\b", "", shown.stdout)

    def test_every_page_is_there_and_nothing_else(self) -> None:
        self.assertEqual(sorted(PAGES), sorted(path.name for path in self.pages.iterdir()))

    def test_mandoc_has_no_complaint(self) -> None:
        for page in PAGES:
            said = run("mandoc", "-T", "lint", "-W", "warning", self.pages / page)
            # The pages name each other; lint looks for them among those that are installed.
            complaints = [line for line in said.stdout.splitlines() if "referenced manual not found" not in line]
            self.assertEqual([], complaints)

    def test_groff_has_no_complaint(self) -> None:
        self.assertTrue(shutil.which("groff"), "groff is missing: install groff-base")
        for page in PAGES:
            said = run("groff", "-ww", "-K", "utf8", "-mandoc", "-T", "utf8", "-z", self.pages / page)
            self.assertEqual((0, ""), (said.returncode, said.stderr), page)

    def test_every_option_of_the_help_text_is_described(self) -> None:
        for page, program in PAGES.items():
            if page == "postern-server-admin.8":
                continue
            text = self.text(page)
            commands = re.findall(r"^  (\S+)  ", run(PROGRAM.parent / program, "--help").stdout, re.M)
            for command in commands or [""]:
                shown = run(PROGRAM.parent / program, *command.split(), "--help").stdout
                flags = re.findall(r"^  (--[\w-]+)", shown, re.M)
                if page == "postern-server.8" and command == "admin":
                    continue
                for flag in flags:
                    self.assertIn(flag, text, f"{page}, {command}")

    def test_the_admin_page_has_every_verb(self) -> None:
        text = self.text("postern-server-admin.8")
        verbs = re.findall(r"^  (\S+ \S+)  ", run(PROGRAM.parent / "postern-server", "admin", "--help").stdout, re.M)
        self.assertGreater(len(verbs), 20)
        for verb in verbs:
            self.assertIn(f"postern-server admin {verb}", text)

    def test_exit_codes_are_in_every_page(self) -> None:
        for page in PAGES:
            self.assertIn("15  unreachable", self.text(page))


if __name__ == "__main__":
    unittest.main()
