"""Optimisers whose damping sets itself, and averages of their iterates (torch)."""

from spectra.optim._average import IterateAverage
from spectra.optim._damping import AutoDamping
from spectra.optim._kfac import KFAC
from spectra.optim._lanczos_opt import LanczosOPT
from spectra.optim._levenberg_marquardt import LevenbergMarquardt
from spectra.optim._lookahead import Lookahead
from spectra.optim._noisy_quadratic import (
    average_variance,
    break_even_step,
    ema_variance,
    expected_norm,
    iterate_variance,
)
from spectra.optim._padamw import Gadam, GadamX, PAdamW
from spectra.optim._preconditioning import (
    average_loss_bound,
    curvature_ratio,
    largest_stable_step,
    loss_change,
    stable_step_bound,
    stationary_loss,
)
from spectra.optim._schedules import plateau_decay, scale_damping, scale_learning_rate, schedule, warm_decay
from spectra.optim._spectral_sgd import SpectralSGDM

__all__ = ["KFAC", "AutoDamping", "Gadam", "GadamX", "IterateAverage", "LanczosOPT", "LevenbergMarquardt", "Lookahead",
           "PAdamW", "SpectralSGDM", "average_loss_bound", "average_variance", "break_even_step", "curvature_ratio",
           "ema_variance", "expected_norm", "iterate_variance", "largest_stable_step", "loss_change", "plateau_decay",
           "scale_damping", "scale_learning_rate", "schedule", "stable_step_bound", "stationary_loss", "warm_decay"]
