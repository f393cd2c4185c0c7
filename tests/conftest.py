"""What all tests share: how hard hypothesis searches, which tests are slow, where the browser is."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

# A law of the catalogue says how many shapes it needs (max_examples=200) and overrides the profile.
# "default" looks at new examples in every run; "ci" at the same ones, so that a verdict can be repeated.
# No deadline: SymPy's caches make a first example slow and the second fast.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", CALM, max_examples=25)
settings.register_profile("ci", CALM, max_examples=100, derandomize=True, database=None, print_blob=True)
settings.register_profile("thorough", CALM, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))

# Progress, and what a machine busy with tests measures of itself, go to files of their own, not among the sources.
FOLDER = tempfile.mkdtemp(prefix="dnnlab-")
os.environ.setdefault("DNNLAB_PROGRESS", os.path.join(FOLDER, "progress.json"))
os.environ.setdefault("DNNLAB_MACHINE", os.path.join(FOLDER, "machine.json"))

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("DNNLAB_SLOW"):
        skip = pytest.mark.skip(reason="slow; run it with: python -m tasks test --slow")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that a browser journey can drive; without one the journey is skipped."""
    candidates = (os.environ.get("CHROMIUM", ""), *BROWSERS)
    found = next(filter(None, map(shutil.which, candidates)), None)
    if found is None:
        pytest.skip("no Chromium on the path; install one, or set CHROMIUM to its executable")
    return found
