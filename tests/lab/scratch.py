"""A lab for one purpose: brought up, used, and gone again, whatever happens."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from .debs import FetchError
from .testbed import Lab, LabError, say, scratch_run_dir


def in_lab(purpose: str, use: Callable[[Lab], int], keep_logs: bool = False) -> int:
    """What `use` returns; 1 when the lab fails meanwhile, 2 when it does not come up. Logs of a failure are kept."""
    run_dir = scratch_run_dir(purpose)
    try:
        lab = Lab.start(run_dir)
    except (LabError, FetchError) as error:
        say(f"{purpose}: {error}")
        return 2
    code = 1
    try:
        code = use(lab)
    except LabError as error:
        say(f"{purpose}: FAILED: {error}")
    finally:
        lab.down()
        if keep_logs or code != 0:
            say(f"logs: {run_dir}/log")
        else:
            shutil.rmtree(run_dir, ignore_errors=True)
    return code
