"""Noisy eigenvalues pulled back: covariance cleaning, and the damping of an optimiser that is the same thing.

Linear shrinkage replaces H by ``beta H + (1 - beta) T`` with the target T = I or mu I; as a preconditioner that is the
damped ``H + delta T``, ``delta = (1 - beta) / beta``, up to a factor beta. With noise of spectral variance s added to
a matrix whose eigenvalues have mean mu and mean square a (before the noise), the best delta in Frobenius norm is

    target I       s / (1 + a - 2 mu)
    target mu I    mu s / (a - mu^2)          (Ledoit and Wolf; scales as H does)

Nonlinear shrinkage moves every eigenvalue by its own amount and keeps the eigenvectors; it is the best that can be done
without knowing better ones.

References: Ledoit and Wolf, Journal of Multivariate Analysis 88 (2004), doi 10.1016/S0047-259X(03)00096-4, Annals
of Statistics 48 (2020), doi 10.1214/19-AOS1921, and Bernoulli 28 (2022), doi 10.3150/20-BEJ1315; Bun, Bouchaud and
Potters, Physics Reports 666 (2017); damping paper (13) to (15), corrected in docs/errata.md.
"""

from __future__ import annotations

import numpy as np

from spectra.rmt._laws import not_negative, positive

_POWER = 0.35  # of the width of the kernels, Ledoit and Wolf (2022)


def optimal_damping(noise: float, *, rule: str = "edge", mean: float | None = None,
                    mean_square: float | None = None) -> float:
    """Damping delta that a noisy curvature matrix asks for.

    "edge": ``2 sqrt(s)``, the edge of the noise's bulk; "variance": ``s``, as the damping paper has it; "shrinkage":
    ``s / (1 + a - 2 mu)``, optimal for the target I; "ledoit-wolf": ``mu s / (a - mu^2)``, optimal for the target mu I.

    Parameters
    ----------
    noise : float
        s, the spectral variance of the noise: ``E ||H_batch - H||_F^2 / P``.
    rule : {"edge", "variance", "shrinkage", "ledoit-wolf"}
        "edge" and "ledoit-wolf" scale with the loss as the matrix does; the other two do not.
    mean, mean_square : float
        mu = tr H / P and a = tr H^2 / P of the matrix without noise, where the rule needs them.

    Returns
    -------
    float
        Infinite if the matrix is known to be a multiple of its target.

    Raises
    ------
    ValueError
        If the noise is negative, the rule has another name, or needs a moment that is missing or impossible.

    Notes
    -----
    Damping paper (15) prints the first order of "shrinkage", ``s``.

    Examples
    --------
    >>> import spectra
    >>> spectra.rmt.optimal_damping(0.04)
    0.4
    >>> spectra.rmt.optimal_damping(0.04, rule="ledoit-wolf", mean=1.0, mean_square=1.5)
    0.08
    """
    noise = not_negative(noise, "noise, a variance,")
    if rule not in RULES:
        raise ValueError(f"rule must be one of {sorted(RULES)}, found {rule!r}")
    if rule in ("shrinkage", "ledoit-wolf"):
        missing = [name for name, x in (("mean", mean), ("mean_square", mean_square)) if x is None]
        if missing:
            raise ValueError(f'rule "{rule}" needs {" and ".join(missing)} of the eigenvalues without noise')
        if not (np.isfinite(mean) and np.isfinite(mean_square)):
            raise ValueError(f"mean and mean_square must be finite, found {mean!r} and {mean_square!r}")
        if rule == "ledoit-wolf" and mean <= 0:
            raise ValueError('rule "ledoit-wolf" shrinks towards mean times the identity and needs a positive mean, '
                             f'found {mean:.6g}; "edge" and "variance" need none')
        if mean_square < mean**2 * (1 - 1e-12):
            raise ValueError(f"mean_square = {mean_square:.6g} is below mean^2 = {mean**2:.6g}, which no spectrum has; "
                             "subtract the noise from the mean square with a lower bound of mean^2")
    return float(RULES[rule](noise, mean, mean_square))


def _ratio(x, y):
    return x / y if y > 0 else np.inf


RULES = {"edge": lambda s, mu, a: 2 * np.sqrt(s), "variance": lambda s, mu, a: s,
         "shrinkage": lambda s, mu, a: _ratio(s, 1 + a - 2 * mu),
         "ledoit-wolf": lambda s, mu, a: _ratio(mu * s, a - mu**2)}


def ledoit_wolf(X) -> tuple[np.ndarray, float]:
    """Covariance of the rows of X, shrunk linearly towards a multiple of the identity by the optimal amount.

    ``beta C + (1 - beta) mu I`` with ``C = X'X / n`` after centring, ``mu = tr C / p`` and ``1 - beta`` the estimated
    ratio of the noise in C to the distance of C from mu I, at most 1.

    Parameters
    ----------
    X : array_like, shape (n, p)
        n samples.

    Returns
    -------
    covariance : ndarray, shape (p, p)
    shrinkage : float
        1 - beta.

    Raises
    ------
    ValueError
        If X is not a finite matrix with two rows.

    Notes
    -----
    Time n p^2, memory p^2. Ledoit and Wolf (2004); agrees with scikit-learn's `ledoit_wolf`.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> X = np.random.default_rng(0).standard_normal((20, 50))
    >>> covariance, shrinkage = spectra.rmt.ledoit_wolf(X)
    >>> bool(np.linalg.eigvalsh(covariance).min() > 0.5), bool(shrinkage > 0.8)
    (True, True)
    """
    X = np.asarray(X)
    if X.ndim != 2 or len(X) < 2 or not X.size or X.dtype.kind not in "biuf" or not np.all(np.isfinite(X)):
        raise ValueError("ledoit_wolf needs a finite real matrix of at least two samples (rows) and one column, found "
                         f"shape {X.shape}, dtype {X.dtype}")
    n, p = X.shape
    X = X - X.mean(0, dtype=float)
    scale = float(np.abs(X).max()) or 1.0  # fourth powers of what is left can neither overflow nor vanish
    X = X / scale
    C = X.T @ X / n
    mu = np.trace(C) / p
    distance = np.sum(C**2) / p - mu**2
    noise = (np.sum(np.sum(X**2, 1) ** 2) / n - np.sum(C**2)) / (n * p)  # of one entry of C, summed over a row
    share = float(np.clip(noise / distance, 0.0, 1.0)) if distance > 0 else 1.0
    return ((1 - share) * C + share * mu * np.eye(p)) * scale**2, share


def clean_eigenvalues(eigenvalues, *, noise: str = "multiplicative", variance: float | None = None,
                      ratio: float | None = None) -> np.ndarray:
    """Eigenvalues of the rotationally invariant estimator: what to put in place of noisy ones, eigenvectors kept.

    Multiplicative (sample covariances; Ledoit and Peche): ``x / |1 - q + q x S(x)|^2``. Additive (symmetric noise of
    variance v; Bun, Bouchaud and Potters): ``x - 2 v Re S(x)``. S is the Stieltjes transform of the noisy spectrum on
    the real line: from Cauchy kernels on the inverse eigenvalues (multiplicative; the trace is kept), or Epanechnikov
    kernels of width ``n^(-1/3)`` times the spread.

    Parameters
    ----------
    eigenvalues : array_like, shape (n,)
        All eigenvalues of the noisy matrix.
    noise : {"multiplicative", "additive"}
    variance : float
        v of additive noise.
    ratio : float
        q of multiplicative noise, parameters by samples. Where there are fewer samples than parameters, centred or
        not, the zero eigenvalues become their common best value; zeros that the population has stay.

    Returns
    -------
    ndarray, shape (n,)
        In the order given.

    Raises
    ------
    ValueError
        If what the noise needs is missing, or an eigenvalue is negative in multiplicative noise.

    Notes
    -----
    Time and memory n^2. Ledoit and Wolf (2022), section 4; additive: the kernels of Ledoit and Wolf (2020).

    Examples
    --------
    >>> import numpy as np, spectra
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((400, 200))                              # population: the identity
    >>> noisy = np.linalg.eigvalsh(X.T @ X / 400)
    >>> cleaned = spectra.rmt.clean_eigenvalues(noisy, ratio=0.5)
    >>> float(noisy.std().round(1)), bool(cleaned.std() < 0.1)
    (0.7, True)
    """
    x = np.asarray(eigenvalues, dtype=float)
    if x.ndim != 1 or not x.size or not np.all(np.isfinite(x)):
        raise ValueError(f"clean_eigenvalues needs a vector of finite eigenvalues, found shape {x.shape}")
    if noise == "additive":
        if variance is None:
            raise ValueError("additive noise needs variance=")
        width = max(x.std(), np.sqrt(positive(variance, "variance"))) * len(x) ** (-1 / 3)
        return x - 2 * variance * np.pi * _hilbert(x, width)
    if noise != "multiplicative":
        raise ValueError(f"noise must be 'additive' or 'multiplicative', found {noise!r}")
    if ratio is None:
        raise ValueError("multiplicative noise needs ratio=, the number of parameters by that of samples")
    return _quadratic_inverse(x, positive(ratio, "ratio"))


def _quadratic_inverse(x, q):
    """Ledoit and Wolf's quadratic-inverse shrinkage: as good as their kernels, and sound where q is near 1 or large.

    With y = 1/x, theta the smoothed Hilbert transform of the inverse eigenvalues and phi its conjugate,
    1 / cleaned = y ((1 - q)^2 + 2 q (1 - q) theta + q^2 (theta^2 + phi^2)), up to a factor that keeps the trace.
    """
    n, scale = len(x), x.max()
    if x.min() < -1e-10 * abs(scale) or scale <= 0:
        raise ValueError(f"a sample covariance has no negative eigenvalues and a positive one, found {x.min():.6g} to "
                         f"{scale:.6g}")
    order, x = np.argsort(x), x / scale
    null, q = _zeros(x[order], q)
    y = 1 / x[order[null:]]
    width = (min(q, 1 / q) ** 2 / (n if q > 1 else len(y))) ** _POWER * y
    gaps = y[:, None] - y
    weights = y / (gaps**2 + width**2)
    theta, phi = np.mean(-gaps * weights, 1), np.mean(width * weights, 1)
    square = theta**2 + phi**2
    out = np.zeros(n)
    out[order[null:]] = 1 / (y * (square if q > 1 else (1 - q) ** 2 + 2 * q * (1 - q) * theta + q**2 * square))
    if q > 1:
        out[order[:null]] = 1 / ((q - 1) * y.mean())
    return out * (scale * (x.sum() / out.sum()))


def _zeros(x, q) -> tuple[int, float]:
    """How many of the sorted eigenvalues, the largest of which is 1, are zeros, and the ratio that goes with them.

    Missing samples make as many zeros, and one more where the samples have been centred. Zeros beyond these are the
    population's: the rest is a smaller population seen through as many samples.
    """
    n, samples = len(x), len(x) / q
    rank = min(np.count_nonzero(x > 4 * n * np.finfo(float).eps), max(round(samples), 1))
    if rank < samples - 1.5:
        return n - rank, rank / samples
    return n - rank, n / rank if rank < n else q


def _hilbert(x, width):
    """Hilbert transform ``(1/pi) PV ∫ p(t) / (x - t) dt`` of the density from Epanechnikov kernels, at its nodes."""
    t = (x[:, None] - x) / width
    root = np.sqrt(5.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.abs((root - t) / (root + t)))
        inner = np.where(np.abs(np.abs(t) - root) < 1e-12, 0.0, (1 - t**2 / 5) * logs)
    return np.mean(3 * t / 10 - 3 / (4 * root) * inner, 1) / (np.pi * width)
