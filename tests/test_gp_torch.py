"""Autograd through log-determinants and quadratic forms: gradients, their expectation, and whatever a product hides."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import spectra.gp.torch as gp_torch  # noqa: E402
from spectra.results import ConvergenceWarning  # noqa: E402

D = torch.float64


def inputs(n=60, d=2, seed=0):
    return torch.tensor(np.random.default_rng(seed).standard_normal((n, d)), dtype=D)


def targets(n=60, seed=1):
    return torch.tensor(np.random.default_rng(seed).standard_normal(n), dtype=D)


def kernel(X, lengthscale, noise):
    r2 = ((X[:, None, :] - X[None, :, :]) ** 2).sum(-1)
    return torch.exp(-0.5 * r2 / lengthscale**2) + noise * torch.eye(len(X), dtype=X.dtype)


def parameters():
    return [torch.tensor(value, dtype=D, requires_grad=True) for value in (1.3, 0.1)]


def dense_truth(X, y):
    """Value and gradients of y'K^-1 y + 2 log det K by autograd through dense factorisations."""
    lengthscale, noise = parameters()
    K = kernel(X, lengthscale, noise)
    value = y @ torch.linalg.solve(K, y) + 2 * torch.logdet(K)
    return value.item(), [g.item() for g in torch.autograd.grad(value, (lengthscale, noise))]


def all_signs(n):
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n)), dtype=D).T


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_over_all_sign_vectors_value_and_gradient_are_exact(n):
    X, y = inputs(n), targets(n)
    lengthscale, noise = parameters()
    Z = all_signs(n)

    def product(V):
        return kernel(X, lengthscale, noise) @ V

    inv_quad, logdet = gp_torch.inv_quad_logdet(product, y, probes=Z, tol=1e-12)
    value = inv_quad + 2 * logdet
    found = [g.item() for g in torch.autograd.grad(value, (lengthscale, noise))]
    truth, gradient = dense_truth(X, y)
    np.testing.assert_allclose(value.item(), truth, rtol=1e-10)
    np.testing.assert_allclose(found, gradient, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("method", ["exact", "stochastic"])
def test_gradcheck_of_a_dense_matrix(method):
    """All sign vectors, so that value and gradient belong together."""
    n = 4
    root = torch.tensor(np.random.default_rng(2).standard_normal((n, n)), dtype=D, requires_grad=True)
    y = targets(n).requires_grad_()
    options = {"probes": all_signs(n), "tol": 1e-12} if method == "stochastic" else {}

    def both(root, y):
        A = root @ root.T + 2 * torch.eye(n, dtype=D)
        inv_quad, logdet = gp_torch.inv_quad_logdet(A, y, method=method, **options)
        return inv_quad, logdet, gp_torch.logdet(A, method=method, **options)

    assert torch.autograd.gradcheck(both, (root, y))


def test_exact_method_is_differentiable_twice():
    scale = torch.tensor(2.0, dtype=D, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda s: gp_torch.logdet(lambda V: s * V, like=targets(3)), (scale,))


def test_stochastic_gradient_is_unbiased_within_its_spread():
    X, y = inputs(), targets()
    truth = dense_truth(X, y)[1]
    found = []
    for seed in range(24):
        lengthscale, noise = parameters()
        inv_quad, logdet = gp_torch.inv_quad_logdet(lambda V, a=lengthscale, b=noise: kernel(X, a, b) @ V, y,
                                                    method="stochastic", probes=8, rng=seed, tol=1e-8)
        found.append([g.item() for g in torch.autograd.grad(inv_quad + 2 * logdet, (lengthscale, noise))])
    error = np.mean(found, 0) - truth
    spread = np.std(found, 0, ddof=1) / np.sqrt(len(found))
    assert np.all(np.abs(error) < 3.5 * spread)
    assert np.all(spread < 0.2 * np.abs(truth))


def test_deep_kernel_gets_the_gradients_of_its_weights():
    """A network below the kernel: the product is all that is known."""
    torch.manual_seed(0)
    X, y = inputs(40, 3), targets(40)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).to(D)

    def K():
        return kernel(network(X), torch.tensor(1.0, dtype=D), torch.tensor(0.2, dtype=D))

    expected = torch.autograd.grad(y @ torch.linalg.solve(K(), y) + torch.logdet(K()), list(network.parameters()))
    Q = np.sqrt(40) * np.linalg.qr(np.random.default_rng(0).standard_normal((40, 40)))[0]
    inv_quad, logdet = gp_torch.inv_quad_logdet(lambda V: K() @ V, y, probes=torch.tensor(Q), tol=1e-12)
    found = torch.autograd.grad(inv_quad + logdet, list(network.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_results_carry_their_estimates():
    X, y = inputs(200), targets(200)
    K = kernel(X, *[p.detach() for p in parameters()])
    inv_quad, logdet = gp_torch.inv_quad_logdet(K, y, method="stochastic", rng=3)
    assert logdet.estimate.stderr > 0
    assert logdet.estimate.interval()[0] < torch.logdet(K) < logdet.estimate.interval()[1]
    torch.testing.assert_close(inv_quad.estimate.solution, torch.linalg.solve(K, y), rtol=1e-3, atol=1e-3)
    assert abs(inv_quad.item() - (y @ torch.linalg.solve(K, y)).item()) < 1e-6 * inv_quad.item()


def test_single_precision_stays_single():
    X, y = inputs().float(), targets().float()
    noise = torch.tensor(0.5, requires_grad=True)
    value = gp_torch.logdet(lambda V: kernel(X, torch.tensor(1.0), noise) @ V, like=y, method="stochastic", rng=0)
    value.backward()
    assert value.dtype == noise.grad.dtype == torch.float32
    low, high = value.estimate.interval()
    assert low <= torch.logdet(kernel(X, torch.tensor(1.0), noise)).item() <= high
    assert high - low < 4


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="like="):
        gp_torch.logdet(lambda V: V)
    with pytest.raises(TypeError, match="tensor or a function"):
        gp_torch.logdet(3.0)
    with pytest.raises(ValueError, match="found 'maxent'"):
        gp_torch.logdet(torch.eye(3, dtype=D), method="maxent")
    with pytest.raises(ValueError, match="positive definite"):
        gp_torch.logdet(-torch.eye(3, dtype=D))
    with pytest.raises(ValueError, match="positive definite"):
        gp_torch.logdet(-torch.eye(30, dtype=D), method="stochastic", rng=0)


def test_second_derivatives_are_exact_or_refused():
    d, scale = torch.linspace(1, 3, 20).to(D), torch.tensor(2.0, dtype=D, requires_grad=True)

    def slope(**options):
        value = gp_torch.logdet(lambda V: scale**2 * d[:, None] * V + V, like=d, **options)
        return torch.autograd.grad(value, scale, create_graph=True)[0]

    expected = (2 * d * (1 - 4 * d) / (1 + 4 * d) ** 2).sum().item()
    assert torch.autograd.grad(slope(method="exact"), scale)[0].item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="differentiated once"):
        slope(method="stochastic", rng=0)


def test_tensors_that_do_not_fit_are_named():
    A, y = torch.eye(4, dtype=D), torch.ones(4, dtype=D)
    for wrong, error, match in ((y.numpy(), TypeError, "y must be a tensor"), (y[:, None], ValueError, r"shape \(4,\)"),
                                (y.float(), TypeError, "dtype"), (float("nan") * y, ValueError, "NaN"),
                                (torch.ones(3, dtype=D), ValueError, r"shape \(4,\)")):
        for method in ("exact", "stochastic"):
            with pytest.raises(error, match=match):
                gp_torch.inv_quad_logdet(A, wrong, method=method)
    with pytest.raises(ValueError, match="symmetric"):
        gp_torch.logdet(A + torch.triu(torch.ones(4, 4, dtype=D)))
    with pytest.raises(TypeError, match="real matrix"):
        gp_torch.logdet(A.to(torch.complex128))
    with pytest.raises(ValueError, match="square"):
        gp_torch.logdet(A[:, :3])
    with pytest.raises(TypeError, match="like must"):
        gp_torch.logdet(lambda V: V, like=np.ones(3))
    for probes in (torch.ones(3, 2, dtype=D), torch.ones(4, dtype=D)):
        with pytest.raises(ValueError, match="probes must"):
            gp_torch.logdet(A, method="stochastic", probes=probes)


def test_unconverged_solve_warns():
    X, y = inputs(), targets()
    with pytest.warns(ConvergenceWarning, match="residual"):
        gp_torch.inv_quad_logdet(kernel(X, 0.3, 1e-4), y, method="stochastic", steps=3, rng=0, probes=2)
