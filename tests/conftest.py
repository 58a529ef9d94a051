"""Fixtures that several test modules share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def real_data() -> str:
    """Folder of the real MNIST; without it a test is skipped, or fails under CI=true."""
    folder = os.environ.get("SPINSCAPE_DATA", "")
    if not os.path.isdir(os.path.join(folder, "mnist")):
        reason = "SPINSCAPE_DATA names no folder with mnist in it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
