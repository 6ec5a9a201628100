"""Where the lab keeps things. Everything is below build/, so removing build/ removes every trace."""

from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
LAB = REPO / "build" / "lab"
RUN = LAB / "run"
"""Run folder of the lab that `./dev lab up` starts; tests and benches use folders of their own."""

FILES = LAB / "files"
"""Large generated files, shared by all labs because making them takes longer than using them."""

BIN = REPO / "build" / "release" / "bin"
"""The Postern binaries under test."""

TOOLS = REPO / "build" / "release" / "tests"
"""Programs that only tests use."""

HOST_BIN = "/run/bin"
"""Where lab hosts see BIN: also users who may not enter the folder of the checkout can run programs from there."""
