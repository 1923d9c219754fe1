"""What all tests share: the folder of real data, one thread per process, reproducible property tests."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: the test processes already fill the cores
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile("spectra", deadline=None, derandomize=True, max_examples=30, print_blob=True)
hypothesis.settings.load_profile("spectra")


@pytest.fixture(scope="session")
def spectra_data() -> Path:
    """Folder of the local mirror; tests that need it are skipped where there is none."""
    folder = os.environ.get("SPECTRA_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set SPECTRA_DATA to the folder of the local mirror")
    return Path(folder)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, for data that a test makes up."""
    return np.random.default_rng(20240229)
