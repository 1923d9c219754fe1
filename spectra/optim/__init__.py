"""Optimisers whose damping sets itself, and averages of their iterates (torch)."""

from spectra.optim._average import IterateAverage
from spectra.optim._damping import AutoDamping
from spectra.optim._kfac import KFAC
from spectra.optim._lanczos_opt import LanczosOPT
from spectra.optim._levenberg_marquardt import LevenbergMarquardt
from spectra.optim._padamw import Gadam, GadamX, PAdamW
from spectra.optim._schedules import plateau_decay, scale_damping, scale_learning_rate, schedule, warm_decay
from spectra.optim._spectral_sgd import SpectralSGDM
from spectra.optim._theory import average_variance, curvature_ratio, ema_variance, iterate_variance, largest_stable_step

__all__ = ["KFAC", "AutoDamping", "Gadam", "GadamX", "IterateAverage", "LanczosOPT", "LevenbergMarquardt", "PAdamW",
           "SpectralSGDM", "average_variance", "curvature_ratio", "ema_variance", "iterate_variance",
           "largest_stable_step", "plateau_decay", "scale_damping", "scale_learning_rate", "schedule", "warm_decay"]
