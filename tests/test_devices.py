"""One code path for every device: what is n-long stays there, and the host waits no oftener than it must."""

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from devices import REAL, WATCHED, Host, Kernel, Products, Stored, Traffic

import spectra
from spectra import _arrays, gp, krylov
from spectra.estimators import Jacobi, Nystrom, PivotedCholesky, _density, _diagonal, _moments, _sampling, _sum, _trace
from spectra.estimators._preconditioners import NAMED
from spectra.krylov._chebyshev import chebyshev_moments

ROOT = Path(__file__).parents[1]
N = 257  # a prime, no number of steps, probes or products below, and too many to be diagonalised for a few pairs


class World:
    """The matrices and vectors of a case, in the library and on the device of `device`, and the traffic with it."""

    def __init__(self, device, dtype=float):
        rng, self.device, self.traffic = np.random.default_rng(0), device, Traffic()
        Q = np.linalg.qr(rng.standard_normal((N, N)))[0]
        A = (Q * np.geomspace(1, 20, N)) @ Q.T
        A = ((A + A.T) / 2).astype(dtype)
        here = (device, self.traffic)
        self.products, self.stored = Products(device.put(A), *here), Stored(device.put(A), *here)
        X, self.V, self.y = (device.put(rng.standard_normal(shape).astype(dtype)) for shape in ((N, 2), (N, 3), N))
        self.kernel, self.ard = Kernel(X, *here), Kernel(X, *here, lengthscale=np.ones(2))
        self.near = X[:5, :]
        line = sp.diags_array([np.full(N - 1, -1.0), np.full(N, 3.0), np.full(N - 1, -1.0)], offsets=[-1, 0, 1])
        csr = sp.csr_array(line).astype(dtype)
        self.sparse = spectra.aslinearoperator(device.csr(csr) if hasattr(device, "csr") else csr)


PRECONDITIONERS = {"jacobi": lambda A: Jacobi(A.diagonal()), "pivoted-cholesky": lambda A: PivotedCholesky(A, 30),
                   "nystrom": lambda A: Nystrom(A, 20, rng=0)}

CASES = {
    "lanczos": lambda w: krylov.lanczos(w.products, w.V, 12, basis=True),
    "lanczos without its basis": lambda w: _coefficients(krylov.LanczosRun(w.products, w.V, reorthogonalize=False), 12),
    "block lanczos": lambda w: _projection(krylov.BlockLanczosRun(w.products, w.V), 12),
    "chebyshev": lambda w: (chebyshev_moments(w.products, w.V, 24, (0.5, 21.0)),),
    "cg": lambda w: krylov.cg(w.products, w.V)[:1],
    "matrix function": lambda w: krylov.matrix_function(w.products, w.V, np.sqrt)[:1],
    "eigenpairs": lambda w: spectra.eigenpairs(w.products, 2, tol=1e-4, rng=0)[:1],
    "spectral bounds": lambda w: spectra.spectral_bounds(w.products, rng=0),
    "spectral bounds, stored": lambda w: spectra.spectral_bounds(w.stored, steps=10, rng=0),
    "product of a covariance": lambda w: (w.kernel @ w.V, w.kernel.cross(w.near) @ w.V),
    "bilinear": lambda w: tuple(w.ard.bilinear(w.V, w.V).values()),
    "inv_quad_logdet": lambda w: _values(*gp.inv_quad_logdet(w.kernel, w.y, method="stochastic", probes=4, rng=0)),
    "logdet of a covariance": lambda w: _values(spectra.logdet(w.kernel, method="slq", probes=4, steps=20, rng=0)),
}
"""Name -> function of a World that returns arrays and numbers. Methods are added from their dictionaries below."""

for _name in _trace.METHODS:
    CASES[f"trace, {_name}"] = lambda w, name=_name: _values(
        spectra.trace(w.products, method=name, matvecs=N if name == "exact" else 40, rng=0))
for _name in _sampling.PROBES:
    CASES[f"trace, {_name} probes"] = lambda w, name=_name: _values(
        spectra.trace(w.products, method="hutch++", matvecs=40, probe=name, rng=0))
for _name in _diagonal.METHODS:
    CASES[f"diagonal, {_name}"] = lambda w, name=_name: _values(
        spectra.diagonal(w.products, method=name, matvecs=N if name == "exact" else 40, rng=0))
for _name in _sum.METHODS:
    CASES[f"spectral_sum, {_name}"] = lambda w, name=_name: _values(
        spectra.spectral_sum(w.products, np.sqrt, method=name, probes=4, steps=20, rng=0))
    CASES[f"logdet, {_name}"] = lambda w, name=_name: _values(
        spectra.logdet(w.stored, method=name, **({} if name == "exact" else {"matvecs": 90}), rng=0))
    CASES[f"logdet to a tolerance, {_name}"] = lambda w, name=_name: _values(
        spectra.logdet(w.products, method=name, rtol=0.2, rng=0))
for _name in NAMED:
    CASES[f"logdet, {_name}"] = lambda w, name=_name: _values(
        spectra.logdet(w.stored, method="slq", preconditioner=name, matvecs=90, rng=0))
    CASES[f"cg, {_name}"] = lambda w, name=_name: krylov.cg(w.stored, w.V, preconditioner=PRECONDITIONERS[name](
        w.stored))[:1]
for _name in _density.DENSITIES:
    CASES[f"spectral_density, {_name}"] = lambda w, name=_name: _values(
        spectra.spectral_density(w.products, method=name, steps=16, probes=4, rng=0).sum(np.sqrt))
for _name in _moments.BASES:
    CASES[f"moments, {_name}"] = lambda w, name=_name: _values(
        spectra.moments(w.products, 12, basis=name, probes=4, rng=0))

HOME = {"diagonal": 3, "exact": N + 2, "logdet, exact": 2 * N + 2, "pivoted-cholesky": 1, "stochastic": 1,
        "inv_quad_logdet": 1}
"""Vectors that may come home before or after the recurrence: the answer, factors, entries that are looked at."""

OUT = {"diagonal": 40, "trace": 40, "logdet": 90}
"""Vectors that may go out: one for each probe. 10 where nothing is said."""


def _limit(limits: dict, case: str, default: int) -> int:
    return max((limits[key] for key in limits if key in case), default=default)


def _coefficients(run, steps):
    run.advance(steps)
    return run.alpha, run.beta


def _projection(run, steps):
    run.advance(steps)
    return run.T, run.basis()


def _values(*estimates):
    return [x for e in estimates for x in (e.value, e.stderr)]


def _answers(case, device, dtype="float64"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectra.ConvergenceWarning)
        return [device.get(x) for x in CASES[case](World(device, dtype))]


@cache
def _answers_here(case, dtype="float64"):
    return _answers(case, Host(), dtype)


@pytest.fixture
def world(request, monkeypatch):
    """A World on a watched device, with its traffic recorded."""
    device = WATCHED[request.param]()
    world = World(device)
    done = device.watch(monkeypatch, world.traffic)
    world.traffic.clear()
    yield world
    if done is not None:
        done()


@pytest.mark.filterwarnings("ignore::spectra.ConvergenceWarning")
@pytest.mark.parametrize("world", WATCHED, indirect=True)
@pytest.mark.parametrize("case", CASES)
def test_what_is_as_long_as_the_matrix_stays_on_its_device(case, world):
    found, traffic = CASES[case](world), world.traffic
    assert not [event for event in traffic.inside() if event[0] == "home" and N in event[1]]
    assert traffic.vectors("home", N) <= _limit(HOME, case, 0)
    assert traffic.vectors("out", N) <= _limit(OUT, case, 10)
    for there, here in zip(found, _answers_here(case), strict=True):
        np.testing.assert_allclose(world.device.get(there), here, rtol=1e-6, atol=1e-6 * np.abs(here).max())


WAITS = {"lanczos": 1, "lanczos without its basis": 1, "block lanczos": 3, "chebyshev": 1, "cg": 2, "cg, jacobi": 3,
         "cg, pivoted-cholesky": 3, "cg, nystrom": 3, "eigenpairs": 1, "matrix function": 1, "moments, power": 1,
         "spectral_density, slq": 1, "spectral_density, kpm": 1, "spectral_density, block-slq": 3}
"""How often the host waits for the device at each product of a recurrence."""


@pytest.mark.filterwarnings("ignore::spectra.ConvergenceWarning")
@pytest.mark.parametrize("world", WATCHED, indirect=True)
@pytest.mark.parametrize("case", WAITS)
def test_how_often_the_host_waits(case, world):
    CASES[case](world)
    inside = world.traffic.inside()
    products = len(inside.shapes("product"))
    # A look at the size of the first product, and restarts, come on top.
    assert WAITS[case] - 0.2 <= inside.waits() / products <= WAITS[case] + 3 / products + 0.1


def test_the_watch_sees_what_it_is_to_forbid(monkeypatch):
    """A recurrence that takes its vectors home, in either way, is caught."""
    for name, kind in WATCHED.items():
        world = World(kind())
        with monkeypatch.context() as patch:
            done = world.device.watch(patch, world.traffic)
            W = world.products @ world.V
            _arrays.to_host(W)
            float(W[0, 0])
            world.products @ _arrays.from_host(np.ones((N, 1)), W, np.dtype(float))
            if done is not None:
                done()
        kinds = [kind for kind, _ in world.traffic]
        assert kinds == ["product", "home", "look", "out", "product"], name
        assert world.traffic.inside().vectors("home", N) == 3 and world.traffic.vectors("out", N) == 1
        assert world.traffic.waits() == 2
    with pytest.raises(RuntimeError, match="NumPy"):
        np.asarray(WATCHED["strict"]().put(np.ones(3)))


# On a GPU


def test_the_benchmark_of_gpus_runs_on_the_processor(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    document = gpu.measure("cpu", gpu.SMALL, repeats=1)
    assert len(document["rows"]) == 2 * len(gpu.CASES) + 1
    for row in document["rows"]:
        assert row["seconds"] > 0 and row["numpy"] > 0
        assert row["difference"] <= (1e-12 if row["dtype"] == "float64" else 1e-4), row
    assert all(speed > 0 for speed in document["limits"]["torch"].values())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", REAL)
@pytest.mark.parametrize("case", CASES)
def test_a_gpu_gives_the_answers_of_the_host(case, library, dtype):
    device = REAL[library]()
    rounding = 1e-7 if dtype == "float64" else 2e-2 if "eigenpairs" in case else 5e-3
    for there, here in zip(_answers(case, device, dtype), _answers_here(case, dtype), strict=True):
        np.testing.assert_allclose(there, here, rtol=rounding, atol=rounding * np.abs(here).max())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", REAL)
def test_a_sparse_matrix_on_a_gpu(library, dtype):
    there, here = (World(device, dtype).sparse for device in (REAL[library](), Host()))
    for how in ({"method": "slq"}, {"method": "block-slq"}, {"method": "chebyshev"}):
        found = spectra.logdet(there, matvecs=200, rng=0, **how)
        assert found.value == pytest.approx(spectra.logdet(here, matvecs=200, rng=0, **how).value, rel=1e-3)
    assert spectra.trace(there).value == pytest.approx(3 * N)
    assert spectra.logdet(there).value == pytest.approx(spectra.logdet(here).value, rel=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("library", REAL)
def test_probes_drawn_on_a_gpu(library):
    device = REAL[library]()
    A = World(device).products
    rng = device.generator()
    found = spectra.trace(A, method="hutchinson", matvecs=40, rng=rng)
    assert abs(found.value - float(np.trace(device.get(A.A)))) <= 6 * found.stderr
    found = spectra.logdet(A, method="slq", probes=8, steps=30, rng=rng)
    assert abs(found.value - np.linalg.slogdet(device.get(A.A))[1]) <= 6 * found.stderr
