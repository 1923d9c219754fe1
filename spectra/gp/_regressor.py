"""Gaussian process regression for people with a table.

Hyper-parameters maximise the marginal likelihood: exactly, where the matrix can be factorised; on a subset of the
rows first and then for a few stochastic steps on all, where it cannot. Predictions use all rows. The variance of a
prediction

    k(x, x) - k(x, X) K^-1 k(X, x)

takes a solve a point. On large tables it is conditioned on the nearest rows alone, those of the largest covariance
with x: conditioning on less never understates it.

Wang, Pleiss, Gardner, Tyree, Weinberger and Wilson (2019), arXiv:1903.08114; Vecchia, J. R. Stat. Soc. B 50 (1988).
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from spectra import _arrays
from spectra._progress import track
from spectra.estimators import PivotedCholesky
from spectra.gp._estimator import RegressorProtocol, table, targets
from spectra.gp._fitting import OPTIMIZERS, Objective, adam, best_start
from spectra.gp._inv_quad import chosen
from spectra.gp._likelihood import log_marginal_likelihood
from spectra.gp._operator import KernelOperator
from spectra.gp._plan import PROBES, Plan
from spectra.gp._sklearn import from_sklearn, is_sklearn
from spectra.results import ConvergenceWarning

_PILOT, _PILOT_STEPS = 400, 30  # rows, and iterations, on which starts are compared
_CHUNK = 512  # rows predicted at a time


class GPRegressor(RegressorProtocol):
    """Gaussian process regression, exact or matrix-free, in the style of scikit-learn.

    Parameters
    ----------
    kernel : str, Covariance, scikit-learn kernel, or function
        As in `KernelOperator`.
    lengthscale : float, array of shape (d,) or None
        Where the search begins, for a kernel given by name, in units of the standardised columns; default sqrt(d).
    variance, noise : float
        Where the search begins, in units of the variance of y; the noise is that of the kernel where it is one of
        scikit-learn with a `WhiteKernel`.
    ard : bool
        One length-scale a column, for a kernel given by name.
    optimizer : {"l-bfgs", "adam"} or None
        None keeps the parameters as given.
    max_iter : int
        Most iterations of the optimiser.
    restarts : int
        Further starts, with less noise and with shorter and longer length-scales in turn, each tried for a few
        iterations on some hundred rows; the optimiser goes on from the best.
    subset : int
        Tables with more rows are fitted on a random subset of so many first.
    full_steps : int
        Steps of Adam on all rows thereafter, by whatever `method`; to go on with all of them from the start, raise
        `subset`.
    method, probes, tol : see `log_marginal_likelihood`
        How the marginal likelihood of all rows is found.
    rank : int
        Rank of the preconditioner of the iterative methods; 0 for none.
    neighbors : int
        Rows that the variance of a prediction is conditioned on, where the matrix cannot be factorised.
    standardize : bool
        Subtract the mean of each column of X and divide by its standard deviation.
    precision : {"float64", "float32"}
        Of the products with the matrix where it is not factorised.
    memory : int, optional
        Bytes; default 1 GiB.
    random_state : int or None
        Seed of the subset and of the probes.
    progress : bool or callable

    Attributes
    ----------
    parameters_ : dict
        The kernel's parameters, for standardised columns and targets.
    log_marginal_likelihood_ : Estimate
        Of the standardised targets, all rows.
    n_features_in_, n_iter_ : int
        Columns, and iterations of the optimiser, those from further starts included (0 without one).
    X_, y_ : ndarray
        Standardised inputs and targets.

    Notes
    -----
    Parameters stay between 1e-3 and 1e4, the noise above 1e-6, in units of the standardised table. The variances of
    the parts of a product of kernels move one by one, though only their product matters.

    Exact: n^3/3 operations for each evaluation. Matrix-free: ``probes + 1`` products a step of the shared Krylov
    space, none of which forms the matrix.

    References
    ----------
    Rasmussen and Williams (2006), algorithm 2.1; Wang et al. (2019), arXiv:1903.08114.

    Examples
    --------
    >>> import numpy as np
    >>> from spectra import gp
    >>> x, noise = np.linspace(0, 6, 40), 0.01 * np.random.default_rng(0).standard_normal(40)
    >>> model = gp.GPRegressor(random_state=0).fit(x[:, None], np.sin(x) + noise)
    >>> mean, std = model.predict(np.array([[1.0], [30.0]]), return_std=True)
    >>> bool(abs(mean[0] - np.sin(1)) < 0.05), bool(std[1] > 10 * std[0])
    (True, True)
    """

    def __init__(self, kernel="rbf", *, lengthscale=None, variance=1.0, noise=0.1, ard=True, optimizer="l-bfgs",
                 max_iter=100, restarts=2, subset=2000, full_steps=3, method="auto", probes=PROBES, tol=1e-3, rank=256,
                 neighbors=256, standardize=True, precision="float64", memory=None, random_state=None,
                 progress=False):
        self.kernel, self.lengthscale, self.variance, self.noise, self.ard = kernel, lengthscale, variance, noise, ard
        self.optimizer, self.max_iter, self.restarts = optimizer, max_iter, restarts
        self.subset, self.full_steps = subset, full_steps
        self.method, self.probes, self.tol, self.rank, self.neighbors = method, probes, tol, rank, neighbors
        self.standardize, self.precision, self.memory = standardize, precision, memory
        self.random_state, self.progress = random_state, progress

    def fit(self, X, y):
        """Find the hyper-parameters, and solve for the weights of the predictive mean.

        Parameters
        ----------
        X : array, shape (n, d)
        y : array, shape (n,)

        Returns
        -------
        GPRegressor
            The estimator itself.

        Warns
        -----
        ConvergenceWarning
            If the search ended at a bound (which is named; one length-scale of several at its upper bound is not, as
            its column just says nothing), stopped before the likelihood was flat, or found no more than noise.
        """
        X = table(X)
        y = targets(y, len(X))
        if self.optimizer is not None and self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be None or one of {sorted(OPTIMIZERS)}, found {self.optimizer!r}")
        if self.precision not in ("float64", "float32"):
            raise ValueError(f"precision must be 'float64' or 'float32', found {self.precision!r}")
        for name, least in (("restarts", 0), ("max_iter", 1), ("full_steps", 0), ("subset", 1), ("neighbors", 1),
                            ("rank", 0)):
            count = getattr(self, name)
            if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < least:
                raise ValueError(f"{name} must be a whole number, at least {least}, found {count!r}")
        self.n_features_in_ = X.shape[1]
        self._centre, self._scale = _moments(X) if self.standardize else (0.0, 1.0)
        self._mean, self._size = _moments(y)
        self.X_, self.y_ = (X - self._centre) / self._scale, (y - self._mean) / self._size
        self._generator = np.random.default_rng(_seed(self.random_state))
        self._factor, self.n_iter_, self._complaints, self._single_fails = None, 0, [], False
        K = self._searched(self._operator(self.X_))
        self.parameters_ = K.parameters
        self._K, self.log_marginal_likelihood_ = self._evidence(K)
        self._weights = self.log_marginal_likelihood_.solution
        if self.optimizer is not None:
            self._warn()
        return self

    def predict(self, X, return_std: bool = False):
        """Predictive mean, and standard deviation of a new observation, noise included.

        Parameters
        ----------
        X : array, shape (m, d)
        return_std : bool

        Returns
        -------
        mean : ndarray, shape (m,)
        std : ndarray, shape (m,)
            Only with `return_std`. Exact where the matrix fits the memory, else conditioned on `neighbors` rows.
        """
        self._require_fitted()
        X = (self._table(X) - self._centre) / self._scale
        mean = np.empty(len(X))
        for rows in _arrays.chunks(len(X), 8 * _CHUNK):
            mean[rows] = self._K.cross(self._cast(X[rows])) @ self._weights
        mean = self._mean + self._size * mean
        return (mean, self._size * np.sqrt(self._variance(X))) if return_std else mean

    # The fit

    def _operator(self, X) -> KernelOperator:
        d, kernel, noise = X.shape[1], self.kernel, self.noise
        if not isinstance(kernel, str):
            if self.lengthscale is not None:
                raise ValueError("lengthscale belongs to a kernel given by name; give it to the kernel itself, "
                                 "e.g. SquaredExponential(lengthscale=...)")
            if is_sklearn(kernel):
                noise = 0.0 if from_sklearn(kernel, d)[1] else noise  # it may bring its own
                fixed = [h.name for h in kernel.hyperparameters if h.fixed]
                if fixed and self.optimizer is not None:
                    raise ValueError(f"a fit moves every parameter, but {', '.join(fixed)} of the kernel is fixed; "
                                     "take optimizer=None, or let it move")
            K = KernelOperator(X, kernel, variance=self.variance, noise=noise, memory=self.memory)
            return K.astype(self._dtype)
        lengthscale = np.sqrt(d) if self.lengthscale is None else self.lengthscale
        if np.ndim(lengthscale) and not self.ard:
            raise ValueError(f"ard=False has one length-scale, found {np.size(lengthscale)}; give one, or ard=True")
        lengthscale = np.full(d, lengthscale) if self.ard and np.ndim(lengthscale) == 0 and d > 1 else lengthscale
        K = KernelOperator(X, self.kernel, lengthscale=lengthscale, variance=self.variance, noise=self.noise,
                           memory=self.memory)
        return K.astype(self._dtype)

    @property
    def _dtype(self) -> str:
        return "float64" if self._single_fails or self._is_exact(len(self.X_)) else self.precision

    def _cast(self, X):
        return X.astype(self._dtype)

    def _is_exact(self, n: int) -> bool:
        return chosen(n, Plan(self.method, memory=self.memory)) == "exact"

    def _searched(self, K: KernelOperator) -> KernelOperator:
        """K with the parameters that the optimiser finds: on some rows first, then on all."""
        n, optimizer = K.shape[0], OPTIMIZERS.get(self.optimizer)
        if optimizer is None:
            return K
        if n <= self.subset:
            return self._optimized(K, self.y_, optimizer, self.max_iter, self.restarts)
        rows = self._generator.choice(n, self.subset, replace=False)
        found = self._optimized(self._operator(self.X_[rows]), self.y_[rows], optimizer, self.max_iter, self.restarts)
        return self._optimized(K.with_parameters(found.parameters), self.y_, adam, self.full_steps)

    def _optimized(self, K, y, optimizer, steps: int, restarts: int = 0) -> KernelOperator:
        """Adam draws new probes at every step; L-BFGS keeps its own."""
        seed = None if optimizer is adam else self._fresh()
        objective = Objective(K, self._cast(y), lambda K: self._options(K, seed))
        if restarts:
            rows = self._generator.choice(len(y), min(len(y), _PILOT), replace=False)
            few = KernelOperator(K.X[rows], K._scaled, noise=K.noise, memory=self.memory)
            pilot = Objective(few, self._cast(y[rows]), lambda K: {"method": "exact"})
            first = best_start(objective, pilot, restarts, min(steps, _PILOT_STEPS))
            objective.start = first.x
            self.n_iter_ += first.iterations
        with track(self.progress, steps, f"hyper-parameters, {K.shape[0]} rows") as advance:
            found = optimizer(objective, steps, advance)
        self.n_iter_ += found.iterations
        self._complaints = objective.at_bounds(found.x) + [found.stopped] * bool(found.stopped)
        return objective.operator(found.x)

    def _evidence(self, K: KernelOperator):
        """K with its marginal likelihood; in double precision where single leaves no positive definite matrix."""
        try:
            return K, log_marginal_likelihood(K, self._cast(self.y_), **self._options(K))
        except ValueError as error:
            if self._dtype == "float64" or "positive definite" not in str(error):
                raise
        self._single_fails, K = True, K.astype("float64")
        warnings.warn(f"float32 leaves no positive definite matrix at a noise of {float(K.noise):.2g}: likelihood and "
                      "weights were found in float64; precision='float64' searches there, too", ConvergenceWarning,
                      stacklevel=3)
        return K, log_marginal_likelihood(K, self._cast(self.y_), **self._options(K))

    def _warn(self) -> None:
        """Of a search that ended where it should not, or found no more than noise."""
        evidence, gain = self.log_marginal_likelihood_, 0.5 * len(self.y_) * (np.log(2 * np.pi) + 1)
        free = sum(np.size(value) for value in self.parameters_.values())
        complaints = list(self._complaints)
        if self.y_.any() and float(evidence) + gain < free:
            complaints.append(f"the log-likelihood exceeds that of noise alone by {float(evidence) + gain:.2g}, little "
                              f"for {free} parameters")
        if complaints:
            warnings.warn(f"the fit of GPRegressor is doubtful (parameters for standardised columns): "
                          f"{'; '.join(complaints)}. Start elsewhere (lengthscale, noise, restarts), scale the "
                          "columns, or raise max_iter", ConvergenceWarning, stacklevel=3)

    def _options(self, K, seed: int | None = None) -> dict:
        """How to find the marginal likelihood of this operator."""
        exact = self._is_exact(K.shape[0])
        return {"method": self.method, "probes": self.probes, "tol": self.tol, "memory": self.memory,
                "rng": self._fresh() if seed is None else seed,
                "preconditioner": "none" if exact or not self.rank else PivotedCholesky(K, min(self.rank, K.shape[0]))}

    def _fresh(self) -> int:
        return int(self._generator.integers(2**31))

    # The variance

    def _variance(self, X) -> np.ndarray:
        """Variance of new observations at standardised inputs, in units of the variance of y."""
        explain = self._explained_by_all if self._is_exact(len(self.X_)) else self._explained_by_neighbors
        explained = np.concatenate([explain(X[rows]) for rows in _arrays.chunks(len(X), _CHUNK)])
        prior = self._K.variance * self._K.kernel.diagonal(X)
        return np.maximum(prior - explained, 0.0) + self._K.noise

    def _explained_by_all(self, X) -> np.ndarray:
        """k(x, X) K^-1 k(X, x) by Cholesky."""
        if self._factor is None:
            self._factor = np.linalg.cholesky(self._K.todense())
        half = solve_triangular(self._factor, self._K.cross(X).todense().T, lower=True, check_finite=False)
        return np.sum(half**2, axis=0)

    def _explained_by_neighbors(self, X) -> np.ndarray:
        """The same of the rows nearest in covariance."""
        K, m = self._K, min(self.neighbors, len(self.X_))
        cross = K.cross(self._cast(X)).todense().astype(float)
        nearest = np.argpartition(-np.abs(cross), m - 1, axis=1)[:, :m]
        explained = np.empty(len(X))
        for i, rows in enumerate(nearest):
            near, k = self.X_[rows], cross[i, rows]
            corner = K.variance * K.kernel(near, near) + K.noise * np.eye(m)
            explained[i] = k @ cho_solve(cho_factor(corner, lower=True, check_finite=False), k, check_finite=False)
        return explained


def _moments(values) -> tuple:
    """Mean and standard deviation, 1 where rounding is all there is."""
    largest = np.abs(values).max(axis=0)
    unit = np.where(largest > 0, largest, 1.0)  # squares of the values themselves might overflow
    mean, spread = (values / unit).mean(axis=0), (values / unit).std(axis=0)
    constant = spread <= len(values) * np.finfo(float).eps
    return mean * unit, np.where(constant, 1.0, spread * unit)[()]


def _seed(random_state) -> int | None:
    """scikit-learn hands out RandomState objects too."""
    if hasattr(random_state, "randint"):
        return int(random_state.randint(2**31))
    return _arrays.generator(random_state)[1]
