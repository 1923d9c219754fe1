"""`spectra curvature`: the spectrum of a network's loss, from a function that builds model, loss and data.

A checkpoint alone is not a model: the code that builds it is. So the command takes that code, a function in a file
or a module that returns (model, loss, data) or (model, loss, data, test data), and its arguments.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import eigh_tridiagonal

from spectra import _arrays, plot
from spectra._progress import track
from spectra.cli._answer import Answer, draw, source, with_error
from spectra.krylov import LanczosRun
from spectra.krylov._quadrature import gauss
from spectra.results import SpectralDensity

__all__ = ["KINDS", "curvature"]

KINDS = {"hessian": "HessianOperator", "ggn": "GGNOperator", "fisher": "FisherOperator"}
WORDS = {"hessian": "Hessian", "ggn": "generalised Gauss-Newton matrix", "fisher": "Monte-Carlo Fisher information"}
FUNCTION = "network"  # where no name is given


class Case(NamedTuple):
    """What the user's function returned."""

    title: str
    model: Any
    loss: Any
    data: Any
    test: Any


def curvature(args) -> Answer:
    case = build(args.file, args.arguments)
    run, seed, loss = _lanczos(args, case)
    density, (values, residuals) = _density(run, seed), _ends(run)
    found = {"kind": args.kind, "bn": args.bn, "parameters": density.size, "loss": loss, **_of_density(density, args),
             "largest": values[::-1][:10].tolist(), "smallest": values[:3].tolist(),
             "residuals": {"largest": residuals[::-1][:10].tolist(), "smallest": residuals[:3].tolist()}}
    statistics = _statistics(args, case, seed) if args.statistics else {}
    scapes = _landscapes(args, case, run) if args.landscape else []
    data = {"input": {"file": args.file, "arguments": args.arguments, "model": type(case.model).__name__},
            "curvature": found}
    if statistics:
        data["statistics"] = {name: value.to_dict() for name, value in statistics.items()}
    if scapes:
        data["landscape"] = _scapes_to_dict(scapes)
    lines = [f"{case.title}: {type(case.model).__name__} of {density.size} parameters; {WORDS[args.kind]}",
             *_in_words(found, density), *[f"  {name:<18} {with_error(value)}" for name, value in statistics.items()],
             f"  {source(density)}"]
    return Answer(data, lines, lambda path: _picture(density, scapes, f"{lines[0]}\n{source(density)}", path))


# The user's function


def build(where: str, arguments: list[str]) -> Case:
    """Call the function that `where` names, as FILE.py, FILE.py:name, package.module or package.module:name."""
    module, _, name = where.partition(":")
    function = getattr(_module(module), name or FUNCTION, None)
    if not callable(function):
        raise ValueError(f"{module} has no function {name or FUNCTION!r}; name one that returns (model, loss, data), "
                         f"as {module}:name")
    returned = function(*arguments)
    if not isinstance(returned, tuple) or len(returned) not in (3, 4):
        found = f"{len(returned)} things" if isinstance(returned, tuple) else type(returned).__name__
        raise ValueError(f"{name or FUNCTION} must return (model, loss, data), or with test data as a fourth, found "
                         f"{found}")
    return Case(where, *returned, *[None] * (4 - len(returned)))


def _module(where: str):
    """A module by its dotted name, or from a file as Python runs it: with its folder on the path."""
    if not where.endswith(".py"):
        sys.path.insert(0, os.getcwd())
        try:
            return importlib.import_module(where)
        finally:
            sys.path.remove(os.getcwd())
    path = Path(where)
    if not path.is_file():
        raise FileNotFoundError(f"{where}: no such file; expected one with a function that returns (model, loss, data)")
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(path.resolve().parent))


# The Lanczos run, and its file


def _lanczos(args, case: Case):
    """The run to its end, its seed, and the loss."""
    path = Path(args.resume) if args.resume else None
    begun = json.loads(_identity_file(path).read_text()) if path and path.exists() else {}
    generator, seed = _arrays.generator(begun.get("seed") if args.rng is None else args.rng)
    operator = _operator(args, case, seed)
    loss, n = operator.loss(), operator.shape[0]
    identity = {"kind": args.kind, "bn": args.bn, "order": n, "probes": args.probes, "seed": seed,
                "weights": _digest(case.model), "loss": loss}
    if begun:
        _require_same(begun, identity, path)
        run = LanczosRun.load(path, operator)
    else:
        run = LanczosRun(operator, _arrays.signs(generator, n, args.probes, operator.like, operator.dtype))
        if path:
            _identity_file(path).write_text(json.dumps(identity))
    _advance(args, run, path)
    return run, seed, loss


def _advance(args, run: LanczosRun, path: Path | None) -> None:
    with track(args.progress, args.steps, "Lanczos") as advance:
        advance(min(run.steps, args.steps))
        while run.steps < args.steps:
            run.advance(1)
            advance()
            if path and (run.steps % args.every == 0 or run.steps == args.steps):
                _keep(run, path)


def _density(run: LanczosRun, seed: int) -> SpectralDensity:
    nodes, weights = gauss(run.alpha, run.beta)
    return SpectralDensity(nodes, weights, run.A.shape[0], method="slq", matvecs=nodes.size, seed=seed,
                           exact=bool(run.broken.all()), details={"steps": run.steps})


def _operator(args, case: Case, seed: int):
    from spectra import nn

    drawn = {"rng": seed} if args.kind == "fisher" else {}
    return getattr(nn, KINDS[args.kind])(case.model, case.loss, case.data, bn=args.bn, **drawn)


def _keep(run: LanczosRun, path: Path) -> None:
    """Write the run, whole or not at all."""
    draft = path.with_name(path.name + ".part")
    run.save(draft)
    draft.replace(path)


def _identity_file(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _digest(model) -> str:
    """Of the weights and buffers, to tell whether a kept run belongs to them."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().double().numpy().tobytes())
    return digest.hexdigest()


def _require_same(begun: dict, identity: dict, path: Path) -> None:
    same = {"loss": np.isclose(begun["loss"], identity["loss"], rtol=1e-5)}
    different = [key for key in identity if not same.get(key, begun.get(key) == identity[key])]
    if different:
        said = ", ".join(f"{key} {begun.get(key)} (now {identity[key]})" for key in different)
        raise ValueError(f"{path} holds a run with another {said}; repeat that command, or name another file")


# What is told


def _ends(run: LanczosRun):
    """Ritz values of the first probe in rising order, and their residuals, not below the rounding of the products."""
    values, vectors = eigh_tridiagonal(run.alpha[0], run.beta[0, : run.steps - 1])
    rounding = _arrays.eps(run.A.dtype) * np.abs(values).max()
    return values, np.maximum(run.beta[0, -1] * np.abs(vectors[-1]), rounding)


def _of_density(rho: SpectralDensity, args) -> dict[str, Any]:
    from spectra import nn

    found = {"trace": rho.sum(lambda x: x), "squared_norm": rho.sum(np.square), "negative_mass": nn.negative_mass(rho),
             "negative_mass_without_nearest": nn.negative_mass(rho, without_nearest=True),
             "degeneracy": nn.rank_degeneracy(rho, nearest=2 if args.kind == "hessian" else 1)}
    described = {name: value.to_dict() for name, value in found.items()}
    return described | {"steps": rho.details["steps"], "probes": rho.probes, "matvecs": rho.matvecs, "seed": rho.seed,
                        "rules": [[nodes.tolist(), weights.tolist()] for nodes, weights in rho.rules]}


def _in_words(found: dict, rho: SpectralDensity) -> list[str]:
    pairs = [list(zip(found[end], found["residuals"][end], strict=True))[:5] for end in ("largest", "smallest")]
    ends = [", ".join(f"{value:.4g} ± {error:.1g}" for value, error in end) for end in pairs]
    share = {name: 100 * found[name]["value"] for name in ("negative_mass", "negative_mass_without_nearest",
                                                          "degeneracy")}
    return [f"  loss {found['loss']:.6g}", f"  largest   {ends[0]}", f"  smallest  {ends[1]}",
            f"  mean {with_error(rho.moment(1))}, mean square {with_error(rho.moment(2))}",
            f"  negative {share['negative_mass']:.3g} %, without the Ritz value nearest 0 "
            f"{share['negative_mass_without_nearest']:.3g} %; at 0 {share['degeneracy']:.5g} %"]


def _statistics(args, case: Case, seed: int) -> dict:
    """Of the weights and the gradient, and the variance that mini-batches add to the curvature."""
    from spectra import nn

    found = nn.statistics(case.model, case.loss, case.data, curvatures=(), bn=args.bn)
    if args.kind != "fisher":
        found["variance"] = nn.curvature_variance(case.model, case.loss, case.data, curvature=args.kind, rng=seed,
                                                  bn=args.bn)
    return found


def _landscapes(args, case: Case, run: LanczosRun) -> list:
    """The loss along the Ritz vectors of the largest Ritz values; of training data, then of test data if known."""
    from spectra import nn
    from spectra.nn._data import Batches

    _, vectors = eigh_tridiagonal(run.alpha[0], run.beta[0, : run.steps - 1])
    Q = run.basis()[0]
    sharpest = Q @ _arrays.from_host(vectors[:, ::-1][:, : args.landscape].copy(), Q, run.A.dtype)
    # Running statistics of the unmoved weights are wrong for moved ones.
    normalised = any("BatchNorm" in type(module).__name__ for module in case.model.modules())
    refresh = Batches(case.data) if normalised and args.bn == "eval" else None
    return [nn.landscape(case.model, case.loss, data, list(sharpest.T), span=args.span, points=args.points, bn=args.bn,
                         refresh=refresh, progress=args.progress)
            for data in (case.data, case.test) if data is not None]


def _scapes_to_dict(scapes: list) -> dict:
    losses = [np.where(np.isfinite(scape.losses), scape.losses, None).tolist() for scape in scapes]
    return {"coordinates": [axis.tolist() for axis in scapes[0].coordinates],
            "losses": dict(zip(("train", "test"), losses, strict=False))}


def _picture(rho: SpectralDensity, scapes: list, title: str, path: str) -> None:
    def fill(axes) -> None:
        first, *rest = np.ravel(axes)
        plot.stem(rho, first, log=True)
        if scapes:
            line, positive = len(scapes[0].coordinates) == 1, all(np.all(scape.losses > 0) for scape in scapes)
            plot.landscape(scapes[0], rest[0], test=scapes[1] if len(scapes) > 1 else None, log=positive and not line)
            if line and len(scapes) > 1:
                rest[0].legend(frameon=False)

    draw(path, 1 + bool(scapes), (6 + 5 * bool(scapes), 4), fill, title)
