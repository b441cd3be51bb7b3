"""matplotlib stays out of the workers: its font cache would be a file, and without a place for it it refuses to be imported."""

from __future__ import annotations

import subprocess
import sys


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_inside_it_is_empty_and_afterwards_the_real_one() -> None:
    code = """
from appliance.engine.undrawn import nothing_drawn
import sys
with nothing_drawn():
    import matplotlib.pyplot as nothing
    from matplotlib.figure import Figure
    nothing.plot([1, 2]).show()
    print("matplotlib.font_manager" in sys.modules)
import matplotlib
print(matplotlib.__version__ > "3")
"""
    assert run_python(code).split() == ["False", "True"]
