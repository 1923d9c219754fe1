"""Random matrices: their laws, what noise does to a few large eigenvalues, and how to undo it."""

from spectra.rmt._batches import (
    batch_extremes,
    batch_variance,
    effective_batch,
    largest_learning_rate,
    least_damping,
    rank_bound,
    semicircle_conditions,
)
from spectra.rmt._edge import edge_pvalue, edge_quantile, edge_scale
from spectra.rmt._fits import count_outliers, fit_bulk
from spectra.rmt._free import free_product, free_sum
from spectra.rmt._laws import marchenko_pastur, semicircle
from spectra.rmt._shrinkage import clean_eigenvalues, ledoit_wolf, optimal_damping
from spectra.rmt._spikes import outliers, overlaps, spikes, threshold
from spectra.rmt._transforms import blue, r_transform, s_transform, stieltjes

__all__ = ["batch_extremes", "batch_variance", "blue", "clean_eigenvalues", "count_outliers", "edge_pvalue",
           "edge_quantile", "edge_scale", "effective_batch", "fit_bulk", "free_product", "free_sum",
           "largest_learning_rate", "least_damping", "ledoit_wolf", "marchenko_pastur", "optimal_damping", "outliers",
           "overlaps", "r_transform", "rank_bound", "s_transform", "semicircle", "semicircle_conditions", "spikes",
           "stieltjes", "threshold"]
