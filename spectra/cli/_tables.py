"""`spectra gp TABLE`: Gaussian process regression on a table, with the evidence and its error bar."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spectra import _arrays, datasets
from spectra.cli._answer import Answer, draw, with_error
from spectra.gp import GPRegressor
from spectra.results._estimate import plain

__all__ = ["gp"]

_SHOWN = 12  # length-scales in words
_WITHIN = 1.959964  # standard deviations of a 95 % interval


class _Read(NamedTuple):
    """A table, the names of its columns and of its target, and which rows are held out."""

    name: str
    X: np.ndarray
    y: np.ndarray
    columns: list[str]
    target: str
    test: np.ndarray


def gp(args) -> Answer:
    """Fit, evidence, error on the rows held out."""
    seed = _arrays.generator(args.rng)[1]
    read = _read(args, seed)
    model = GPRegressor(args.kernel, ard=args.ard, max_iter=args.max_iter, subset=args.subset,
                        full_steps=args.full_steps, method=args.method, precision=args.precision, memory=args.memory,
                        random_state=seed, progress=args.progress).fit(read.X[~read.test], read.y[~read.test])
    found = {"kernel": args.kernel, "parameters": plain(model.parameters_), "iterations": model.n_iter_, "seed": seed,
             "target_mean": float(read.y[~read.test].mean()), "target_std": float(read.y[~read.test].std())}
    mean, std = model.predict(read.X[read.test], return_std=True) if read.test.any() else (np.zeros(0), np.zeros(0))
    table = {"name": read.name, "rows": int(np.sum(~read.test)), "test_rows": int(np.sum(read.test)),
             "columns": read.columns, "target": read.target}
    scores = _scores(read.y[read.test], mean, std) if read.test.any() else None
    data = {"input": table, "evidence": model.log_marginal_likelihood_.to_dict(), "model": found, "test": scores}
    data["evidence"]["details"] = {}  # the solution is as long as the table
    lines = _in_words(table, model, scores, found["target_std"], seed)
    return Answer(data, lines, lambda path: _picture(read, model, mean, std, lines[0], path))


# What is read


def _read(args, seed: int) -> _Read:
    X, names, name, masks = _named(args.file) if _is_named(args.file) else _from_file(Path(args.file))
    column = _column(args.target, names)
    y, keep = X[:, column], [c for c in range(len(names)) if c != column]
    test = _held_out(args, len(y), masks, seed)
    if len(keep) < 1 or np.sum(~test) < 2:
        raise ValueError(f"{name}: expected a target, a column beside it and two rows to fit, found {len(names)} "
                         f"columns and {int(np.sum(~test))} rows")
    return _Read(name, X[:, keep], y, [names[c] for c in keep], names[column], test)


def _is_named(text: str) -> bool:
    return not Path(text).exists() and text in datasets.names()


def _named(name: str):
    """A data set, its target last."""
    if datasets.info(name)["kind"] != "table":
        raise ValueError(f"{name!r} is a data set of kind {datasets.info(name)['kind']}; expected a table, one of "
                         f"{', '.join(datasets.names('table'))}")
    table = datasets.load(name)
    names = [*(f"x{c}" for c in range(table.X.shape[1])), "y"]
    return np.column_stack([table.X, table.y]), names, name, table.masks


def _from_file(path: Path):
    if not path.exists():
        raise FileNotFoundError(f"expected a table (.csv, .tsv, .npy, or with .gz) or the name of a data set, found "
                                f"neither at {str(path)!r}; spectra.datasets.names('table') lists the names")
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if path.name.removesuffix(".gz").endswith(".npy"):
        X = np.load(io.BytesIO(raw), allow_pickle=False)
        names = [f"x{c}" for c in range(X.shape[1])] if X.ndim == 2 else []
    else:
        names, X = _parsed(raw.decode("utf-8-sig"), path.name)
    if X.ndim != 2 or not X.size or X.dtype.kind not in "biuf":
        raise ValueError(f"{path.name}: expected a table of numbers, found {X.dtype} of shape {X.shape}")
    if not np.all(np.isfinite(X)):
        row, column = np.argwhere(~np.isfinite(X))[0]
        raise ValueError(f"{path.name}: expected finite numbers, found {X[row, column]} in row {row + 1}, column "
                         f"{names[column]!r}; drop or fill such rows")
    return X.astype(float), names, path.name, None


def _parsed(text: str, name: str) -> tuple[list[str], np.ndarray]:
    """Column names, which the first line may give, and numbers."""
    dialect = "\t" if "\t" in text.partition("\n")[0] else ";" if ";" in text.partition("\n")[0] else ","
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=dialect) if any(cell.strip() for cell in row)]
    if not rows:
        raise ValueError(f"{name}: expected a table of numbers, found an empty file")
    names = [cell.strip() for cell in rows[0]]
    if all(map(_is_number, names)):
        names = [f"x{c}" for c in range(len(names))]
    else:
        rows = rows[1:]
    for number, row in enumerate(rows, 1):
        wrong = [cell for cell in row if not _is_number(cell)]
        if wrong or len(row) != len(names):
            found = repr(wrong[0]) if wrong else f"{len(row)} cells"
            raise ValueError(f"{name}: expected {len(names)} numbers in every row, found {found} in row {number}; "
                             "encode categories as numbers, and drop or fill rows with holes")
    return names, np.array(rows, dtype=float).reshape(len(rows), len(names))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _column(target: str | None, names: list[str]) -> int:
    """The column of the target, by name or number; the last by default."""
    if target is None:
        return len(names) - 1
    if target in names:
        return names.index(target)
    if target.lstrip("-").isdigit() and -len(names) <= int(target) < len(names):
        return int(target) % len(names)
    raise ValueError(f"no column {target!r}; expected a number below {len(names)} or one of {', '.join(names)}")


def _held_out(args, n: int, masks, seed: int) -> np.ndarray:
    """Rows that are no part of the fit: those of a standard split, or a random share."""
    if args.split is not None:
        if masks is None or not 0 <= args.split < masks.shape[1]:
            count = 0 if masks is None else masks.shape[1]
            raise ValueError(f"split {args.split} is not there: the table has {count} standard splits; --test SHARE "
                             "draws rows at random")
        return masks[:, args.split].astype(bool)
    share = args.test if args.test is not None else 0.1
    if not 0 <= share < 1:
        raise ValueError(f"test must be a share of the rows, at least 0 and below 1, found {share}")
    test = np.zeros(n, dtype=bool)
    test[np.random.default_rng(seed).permutation(n)[: round(share * n)]] = True
    return test


# What is shown


def _scores(y, mean, std) -> dict[str, float]:
    z = (y - mean) / std
    return {"rmse": float(np.sqrt(np.mean((y - mean) ** 2))),
            "log_likelihood": float(np.mean(-0.5 * np.log(2 * np.pi * std**2) - 0.5 * z**2)),
            "covered": float(np.mean(np.abs(z) <= _WITHIN))}


def _in_words(table: dict, model: GPRegressor, scores: dict | None, size: float, seed: int) -> list[str]:
    held = f", {table['test_rows']} more held out" if table["test_rows"] else ""
    lines = [f"{table['name']}: {table['target']} from {len(table['columns'])} columns, {table['rows']} rows{held}"]
    evidence = model.log_marginal_likelihood_
    if evidence.method == "exact":
        lines += [f"log evidence = {evidence.value:.7g}", "  exact, of the standardised target"]
    else:
        low, high = evidence.interval()
        lines += [f"log evidence = {with_error(evidence)}",
                  f"  95 % interval [{low:.7g}, {high:.7g}], bias included, of the standardised target",
                  f"  {evidence.method}, {evidence.matvecs} products"]
    lines.append(f"  noise {model.parameters_['noise']:.3g} of the variance of {table['target']}; seed {seed}")
    scales = _scales(model)
    if scales is not None:
        order = np.argsort(scales)[:_SHOWN]
        more = f", and {len(scales) - _SHOWN} longer" if len(scales) > _SHOWN else ""
        lines.append("  length-scales: " + ", ".join(f"{table['columns'][c]} {scales[c]:.3g}" for c in order) + more)
    if scores:
        lines += [f"test error {scores['rmse']:.4g}, beside a standard deviation of {size:.4g}",
                  f"  log-likelihood {scores['log_likelihood']:.4g} a row; {100 * scores['covered']:.0f} % of the rows "
                  "in their 95 % intervals"]
    return lines


def _scales(model: GPRegressor) -> np.ndarray | None:
    """A length-scale for each column, the shorter the more it matters; None where there is one for all."""
    scales = model.parameters_.get("lengthscale")
    return np.asarray(scales) if np.ndim(scales) else None


def _picture(read: _Read, model: GPRegressor, mean, std, title: str, path: str) -> None:
    """Predictions beside what was held out, and which columns matter."""
    scales, y = _scales(model), read.y[read.test]

    def predictions(ax) -> None:
        ax.errorbar(y, mean, _WITHIN * std, fmt=".", lw=0.6, alpha=0.6)
        ends = [np.min(read.y), np.max(read.y)]
        ax.plot(ends, ends, color="grey", lw=1)
        ax.set(xlabel=read.target, ylabel="predicted, with 95 % intervals")

    def relevance(ax) -> None:
        order = np.argsort(-scales)
        ax.barh([read.columns[c] for c in order], 1 / scales[order])
        ax.set(xscale="log", xlabel="1 / length-scale of the standardised column")

    parts = [part for part, there in ((predictions, len(y)), (relevance, scales is not None)) if there]
    if not parts:
        raise ValueError("nothing to draw: no row is held out, and there is one length-scale; leave out --test 0")
    draw(path, len(parts), (5.5 * len(parts), 4.5),
         lambda axes: [part(ax) for part, ax in zip(parts, np.atleast_1d(axes), strict=True)], title)
