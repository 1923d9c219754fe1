"""What scikit-learn asks of an estimator, without scikit-learn: parameters by name, tables checked, tags.

Its exceptions and tags are used where it has been imported already: nobody else could want them.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from typing import Any

import numpy as np
from scipy import sparse


class RegressorProtocol:
    """``get_params``, ``set_params``, ``score`` and tags, from the signature of ``__init__``."""

    _estimator_type = "regressor"

    @classmethod
    def _names(cls) -> list[str]:
        return sorted(name for name in inspect.signature(cls.__init__).parameters if name != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, by name."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params):
        """Change arguments of the constructor; returns the estimator."""
        for name, value in params.items():
            if name not in self._names():
                raise ValueError(f"Invalid parameter {name!r} for estimator {type(self).__name__}; "
                                 f"the parameters are {', '.join(self._names())}")
            setattr(self, name, value)
        return self

    def score(self, X, y, sample_weight=None) -> float:
        """Coefficient of determination, ``1 - sum (y - mean)^2 / sum (y - average y)^2``."""
        mean = self.predict(X)
        y = targets(y, len(mean))
        weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        if weights.shape != y.shape or not np.all(weights >= 0) or not weights.any():
            raise ValueError(f"sample_weight must hold {len(y)} weights, none negative and not all zero, found shape "
                             f"{weights.shape}")
        unit = np.abs(y).max() or 1.0  # squares of the values themselves might overflow
        rest = weights @ ((y - mean) / unit) ** 2
        total = weights @ ((y - np.average(y / unit, weights=weights) * unit) / unit) ** 2
        return float(1 - rest / total) if total else float(rest == 0)

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self).__init__).parameters.items()}
        changed = [f"{name}={value!r}" for name, value in self.get_params().items()
                   if not (value is defaults[name] or np.array_equal(value, defaults[name]))]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self):
        from sklearn.utils import RegressorTags, Tags, TargetTags

        return Tags(estimator_type="regressor", target_tags=TargetTags(required=True), regressor_tags=RegressorTags())

    def _require_fitted(self) -> None:
        if not hasattr(self, "X_"):
            raise _sklearn_class("NotFittedError", NotFittedError)(
                f"This {type(self).__name__} instance is not fitted yet; call fit(X, y) first")

    def _table(self, X) -> np.ndarray:
        """X as a finite table (n, d) of float64, with as many columns as at the fit."""
        X = table(X)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                             f"{self.n_features_in_} features as input")
        return X


class NotFittedError(ValueError, AttributeError):
    """An estimator was asked before it was fitted."""


def table(X) -> np.ndarray:
    """X as a finite table (n, d) of float64."""
    if sparse.issparse(X):
        raise TypeError("A sparse matrix was passed, but dense data is required; use X.toarray()")
    X = np.asarray(X)
    if np.iscomplexobj(X):
        raise ValueError("Complex data not supported: give X real columns")
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, found shape {X.shape}. Reshape your data using X.reshape(-1, 1) if it "
                         "has a single feature, or X.reshape(1, -1) if it is a single sample")
    X = X.astype(float)
    for count, what in zip(X.shape, ("sample", "feature"), strict=True):
        if count < 1:
            raise ValueError(f"Found array with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is required.")
    if not np.all(np.isfinite(X)):
        raise ValueError("X holds NaN or inf (infinity); remove or impute those rows")
    return X


def targets(y, n: int) -> np.ndarray:
    """y as a finite vector (n,) of float64."""
    if y is None:
        raise ValueError("This estimator requires y to be passed, but the target y is None")
    y = np.asarray(y)
    if np.iscomplexobj(y):
        raise ValueError("Complex data not supported: give real targets")
    if y.ndim == 2 and y.shape[1] == 1:
        warnings.warn("A column-vector y was passed when a 1d array was expected; give y.ravel()",
                      _sklearn_class("DataConversionWarning", UserWarning), stacklevel=3)
        y = y.ravel()
    y = y.astype(float)
    if y.shape != (n,):
        raise ValueError(f"y must have shape ({n},), one target for each row of X, found {y.shape}")
    if not np.all(np.isfinite(y)):
        raise ValueError("y holds NaN or inf (infinity); remove those rows")
    return y


def _sklearn_class(name: str, own: type) -> type:
    """scikit-learn's exception of that name where it is in use, else our own."""
    return getattr(sys.modules.get("sklearn.exceptions"), name, own)
