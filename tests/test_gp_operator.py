"""Kernel operators: every covariance against scikit-learn's and against differences, every block against the matrix."""

import tracemalloc

import numpy as np
import pytest
from libraries import LIBRARIES
from sklearn.gaussian_process import kernels as sk

import spectra
from spectra import _arrays, gp
from spectra.gp import _blocks
from spectra.testing import check_operator

N, D = 90, 3
X = np.random.default_rng(0).standard_normal((N, D))
X[7] = X[60]  # the same point twice
ARD = np.array([0.5, 1.0, 2.0])


def cosine(X, Y, frequency):
    return np.cos(frequency * (X[:, :1] - Y[:, :1].T))


def cosine_slope(X, Y, frequency):
    difference = X[:, :1] - Y[:, :1].T
    return -difference * np.sin(frequency * difference)


KERNELS = (
    {name: kernel(lengthscale=1.3) for name, kernel in gp.KERNELS.items()}
    | {f"{name}, a length-scale a dimension": kernel(lengthscale=ARD) for name, kernel in gp.KERNELS.items()}
    | {
        "alpha": gp.RationalQuadratic(lengthscale=0.8, alpha=0.3),
        "period": gp.Periodic(lengthscale=1.5, period=2.5),
        "constant": gp.Constant(),
        "scaled": 3.0 * gp.Matern32(lengthscale=0.7),
        "sum": 2.0 * gp.SquaredExponential(0.9) + gp.Linear() + 0.5,
        "product": gp.Matern52(ARD) * gp.Periodic(period=3.0) * (0.5 * gp.Matern12()),
        "sum of products": gp.Linear() * gp.SquaredExponential() + 2.0 * (gp.Matern12() * gp.RationalQuadratic()),
        "user": gp.UserKernel(cosine, {"frequency": 0.7}, {"frequency": cosine_slope}),
        "user times named": gp.UserKernel(cosine, {"frequency": 0.7}, {"frequency": cosine_slope}) * gp.Matern32(ARD),
    }
)
"""Name -> covariance function; the first are the dict of the library, so that a new one is tested as it is added."""

SKLEARN = {
    "RBF": (sk.RBF(0.8), D),
    "RBF, a length-scale a dimension": (sk.RBF(ARD), D),
    "Matern 1/2": (sk.Matern(0.8, nu=0.5), D),
    "Matern 3/2": (sk.Matern(ARD, nu=1.5), D),
    "Matern 5/2": (sk.Matern(0.8, nu=2.5), D),
    "RationalQuadratic": (sk.RationalQuadratic(0.8, alpha=0.4), D),
    "ExpSineSquared": (sk.ExpSineSquared(1.2, periodicity=2.2), 1),
    "DotProduct": (sk.DotProduct(1.5), D),
    "ConstantKernel": (sk.ConstantKernel(2.0), D),
    "Sum": (sk.RBF(0.8) + 0.5 * sk.Matern(nu=1.5) + 2.0, D),
    "Product": (2.0 * sk.RBF(0.8) * sk.Matern(ARD, nu=2.5), D),
    "with noise": (2.0 * sk.RBF(0.8) + sk.WhiteKernel(0.1) + 0.5 * sk.WhiteKernel(0.2), D),
}
"""Name -> kernel and dimensions of the inputs."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several strips even of few points, one of them ragged; blocks still large enough for the compiled distances."""
    monkeypatch.setattr(_blocks, "_TILE", {4: 64, 8: 64})


def operator(name, dtype=float, **arguments):
    arguments = {"variance": 1.7, "noise": 0.1, "memory": 0} | arguments
    return gp.KernelOperator(X.astype(dtype), KERNELS[name], **arguments)


def entries(name):
    """The matrix of a kernel, row by row."""
    return 1.7 * np.concatenate([KERNELS[name](x[None], X) for x in X]) + 0.1 * np.eye(N)


def keys(K):
    """Every parameter, and every dimension of one."""
    return [(name, c) for name, value in K.parameters.items()
            for c in ([None] if np.ndim(value) == 0 else range(len(value)))]


def moved(K, name, c, step):
    """K with a parameter, or one dimension of it, moved."""
    value = np.array(K.parameters[name], dtype=float)
    value[() if c is None else c] += step
    return K.with_parameters({name: value})


# Values


@pytest.mark.parametrize("name", SKLEARN)
def test_kernels_of_scikit_learn_have_its_values(name):
    kernel, d = SKLEARN[name]
    K = gp.KernelOperator(X[:, :d], kernel, memory=0)
    check_operator(K, kernel(X[:, :d]))
    np.testing.assert_allclose(K.cross(X[:5, :d] + 0.1).todense(), kernel(X[:5, :d] + 0.1, X[:, :d]), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in SKLEARN if name not in ("with noise", "Sum", "Product")])
def test_kernels_of_scikit_learn_have_its_gradients(name):
    kernel, d = SKLEARN[name]
    K = gp.KernelOperator(X[:, :d], kernel)
    _, gradient = kernel(X[:, :d], eval_gradient=True)
    ours = {"length_scale": "lengthscale", "alpha": "alpha", "periodicity": "period", "constant_value": "variance"}
    if name == "DotProduct":  # x·y + sigma² 1, whose variance is sigma²
        found = [2 * 1.5**2 * K.derivative("1.variance").todense()]
    else:
        names = [ours[h.name] for h in kernel.hyperparameters]
        found = [(K.parameters[n] if c is None else K.parameters[n][c]) * K.derivative(n, c).todense()
                 for n in names for m, c in keys(K) if m == n]
    np.testing.assert_allclose(np.stack(found, -1), gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_is_its_matrix(name):
    dense = entries(name)
    check_operator(operator(name), dense)
    check_operator(operator(name, memory=2**30), dense)
    np.testing.assert_array_equal(operator(name).todense(), operator(name).todense().T)


def test_a_kernel_given_as_a_function_is_that_function():
    K = gp.KernelOperator(X, lambda A, B: (A @ B.T) ** 2, variance=2.0, noise=0.3, memory=0)
    check_operator(K, 2 * (X @ X.T) ** 2 + 0.3 * np.eye(N))
    assert set(K.bilinear(X[:, :1], X[:, :1])) == {"variance", "noise"}


def test_names_give_the_classes_and_their_parameters():
    for name, kernel in gp.KERNELS.items():
        K = gp.KernelOperator(X, name, lengthscale=ARD, variance=2.0, noise=0.1)
        assert type(K.kernel) is kernel and K.variance == 2.0 and K.noise == K.lower_bound == 0.1
        np.testing.assert_array_equal(K.parameters["lengthscale"], ARD)


def test_the_operators_variance_takes_in_that_of_the_kernel():
    K = gp.KernelOperator(X, 2.0 * (3.0 * gp.Matern12()), variance=0.5)
    assert K.parameters == {"variance": 3.0, "lengthscale": 1.0, "noise": 0.0}


def test_sums_and_products_number_their_parts_flat():
    kernel = gp.Linear() + (gp.Matern12() + 2.0 * gp.Periodic())
    assert list(kernel.parameters) == ["0.lengthscale", "1.lengthscale", "2.variance", "2.lengthscale", "2.period"]
    assert kernel.with_parameters({"2.period": 4.0}).parameters == {**kernel.parameters, "2.period": 4.0}


# Accuracy of distances


@pytest.mark.parametrize("d", [1, 5, 40])
@pytest.mark.parametrize("compiled", ["0", "1"])
def test_distances_keep_their_digits_far_from_the_origin_and_near_each_other(d, compiled, monkeypatch):
    monkeypatch.setenv("SPECTRA_KERNELS", compiled)
    rng = np.random.default_rng(1)
    base = rng.standard_normal((70, d))
    near = base + 1e-9 * rng.standard_normal((70, d))
    exact = ((base[:, None].astype(np.longdouble) - near[None]) ** 2).sum(-1)
    K = gp.KernelOperator(base, "matern12", memory=0)
    np.testing.assert_allclose(K.cross(near).H.todense(), np.exp(-np.sqrt(exact)).astype(float), rtol=1e-10)
    far = gp.KernelOperator(base + 2.0**20, "matern12", memory=0)
    shifted = gp.KernelOperator((base + 2.0**20) - 2.0**20, "matern12", memory=0)
    np.testing.assert_allclose(far.todense(), shifted.todense(), rtol=1e-12)
    np.testing.assert_array_equal(np.diagonal(far.todense()), 1.0)


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_point_many_times_has_a_matrix_of_ones_and_derivatives_of_zero(library):
    same = LIBRARIES[library](np.full((5, 7), 0.3))
    for name in gp.KERNELS:
        if name == "linear":
            continue
        for scale in (2.0, np.full(7, 2.0)):
            K = gp.KernelOperator(same, name, lengthscale=scale, memory=0)
            np.testing.assert_array_equal(_arrays.to_host(K.todense()), 1.0)
            for parameter, c in keys(K):
                dense = _arrays.to_host(K.derivative(parameter, c).todense())
                expected = {"variance": np.ones((5, 5)), "noise": np.eye(5)}.get(parameter, np.zeros((5, 5)))
                np.testing.assert_array_equal(dense, expected)


# Derivatives


@pytest.mark.parametrize("name", KERNELS)
def test_derivatives_are_limits_of_differences(name):
    K = operator(name)
    for parameter, c in keys(K):
        dK = K.derivative(parameter, c)
        value = K.parameters[parameter] if c is None else K.parameters[parameter][c]
        h = 1e-4 * value
        near, far = ((moved(K, parameter, c, s * h).todense() - moved(K, parameter, c, -s * h).todense()) / (2 * s * h)
                     for s in (1, 2))
        check_operator(dK, dK.todense())
        expected = (4 * near - far) / 3
        np.testing.assert_allclose(dK.todense(), expected, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("name", KERNELS)
def test_bilinear_forms_are_those_of_the_derivatives(name):
    K = operator(name)
    U, V = np.random.default_rng(2).standard_normal((2, N, 4))
    each, total, vector = K.bilinear(U, V, each=True), K.bilinear(U, V), K.bilinear(U[:, 0], V[:, 0])
    assert list(each) == list(total) == list(K.parameters)
    for parameter, c in keys(K):
        index = () if c is None else c
        expected = np.sum(U * (K.derivative(parameter, c) @ V), 0)
        scale = np.abs(U).T @ np.abs(K.derivative(parameter, c).todense()) @ np.abs(V)
        np.testing.assert_allclose(each[parameter][index], expected, atol=1e-13 * scale.max())
        np.testing.assert_allclose(np.asarray(total[parameter])[index], expected.sum(), atol=1e-13 * scale.max())
        np.testing.assert_allclose(np.asarray(vector[parameter])[index], expected[0], atol=1e-13 * scale.max())
        assert np.shape(total[parameter]) == np.shape(K.parameters[parameter])


def test_derivatives_of_a_function_without_them_are_refused():
    K = gp.KernelOperator(X, gp.UserKernel(cosine, {"frequency": 2.0}))
    with pytest.raises(TypeError, match="the kernel function cosine has no derivative in 'frequency'; give it"):
        K.bilinear(X, X)
    with pytest.raises(TypeError, match="no derivative in 'frequency'"):
        K.derivative("frequency") @ X


# Libraries and precisions


@pytest.mark.parametrize(("library", "dtype"), [("numpy", np.float32), ("torch", np.float64), ("torch", np.float32),
                                                ("strict", np.float64)])
@pytest.mark.parametrize("name", [name for name in KERNELS if "user" not in name])
def test_every_library_and_precision_has_the_same_matrix(name, library, dtype):
    K = gp.KernelOperator(LIBRARIES[library](X.astype(dtype)), KERNELS[name], variance=1.7, noise=0.1,
                          memory=64 * 16 * 64 * np.dtype(dtype).itemsize)  # blocks of order 64
    reference = operator(name)
    dense = reference.todense()
    check_operator(K)
    tolerance = 2000 * np.finfo(dtype).eps * np.abs(dense).max()
    assert K.dtype == dtype and type(K.todense()) is type(K.X)
    np.testing.assert_allclose(_arrays.to_host(K.todense()), dense, atol=tolerance)
    np.testing.assert_allclose(_arrays.to_host(K.diagonal()), np.diagonal(dense), atol=tolerance)
    np.testing.assert_allclose(K.frobenius_norm(), np.linalg.norm(dense), rtol=2000 * np.finfo(dtype).eps)
    V = np.random.default_rng(3).standard_normal((N, 2)).astype(dtype)
    found = K.bilinear(K.X[:, :2], LIBRARIES[library](V))
    expected = reference.bilinear(X[:, :2], V.astype(float))
    for parameter, value in expected.items():
        np.testing.assert_allclose(found[parameter], value, atol=N * tolerance * (1 + np.abs(value).max()))
    check_operator(K.cross(K.X[:9, :]), 1.7 * _arrays.to_host(KERNELS[name](K.X[:9, :], K.X)))


def test_integers_and_lists_become_double_precision():
    K = gp.KernelOperator([[0], [1], [3]], "matern12")
    assert K.dtype == np.float64
    np.testing.assert_allclose(K.todense(), np.exp(-np.array([[0, 1, 3], [1, 0, 2], [3, 2, 0]])), rtol=1e-15)


def test_inputs_that_differentiate_are_taken_as_they_are():
    torch = pytest.importorskip("torch")
    K = gp.KernelOperator(torch.ones((4, 2), dtype=torch.float64, requires_grad=True), noise=1.0)
    assert not (K @ torch.ones(4, dtype=torch.float64)).requires_grad


def test_double_precision_blocks_go_through_single_precision_inputs():
    K = operator("rbf", np.float32)
    V = np.random.default_rng(0).standard_normal((N, 3))
    assert (K @ V).dtype == np.float64
    np.testing.assert_allclose(K @ V, operator("rbf") @ V, atol=1e-4)
    np.testing.assert_allclose(operator("rbf") @ (V + 1j * V), (1 + 1j) * (operator("rbf") @ V), rtol=1e-13)


# Blocks


@pytest.mark.parametrize("k", [1, 2, 33])
def test_products_do_not_depend_on_the_number_of_threads(k, monkeypatch):
    V = np.random.default_rng(0).standard_normal((N, k))
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append((operator("matern32") @ V, operator("rbf").cross(X[:70]) @ V, operator("rbf").bilinear(V, V)))
    for one, three in zip(*found, strict=True):
        np.testing.assert_equal(one, three)


def test_products_in_pieces_are_products():
    rng = np.random.default_rng(0)
    for shape, k in [((256, 256), 16), ((256, 256), 1), ((90, 256), 5), ((256, 31), 100), ((300, 200), 7), ((1, 1), 1)]:
        A, B = rng.standard_normal(shape), rng.standard_normal((shape[1], k))
        np.testing.assert_allclose(_blocks.matmul(A, B), A @ B, atol=1e-12)
        np.testing.assert_allclose(_blocks.matmul(A.T, A @ B), A.T @ (A @ B), atol=1e-11)


def test_the_compiled_distances_are_the_plain_ones():
    from spectra._kernels import distance

    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        for d in (1, 3, 4, 8):
            A, B = rng.standard_normal((70, d)).astype(dtype), rng.standard_normal((65, d)).astype(dtype)
            found = distance.squared_distances(A, B)
            assert found.dtype == dtype
            tolerance = 10 * np.finfo(dtype).eps
            np.testing.assert_allclose(found, distance.squared_distances_reference(A, B), rtol=tolerance)
            arguments = found, A[:, -1], B[:, -1]
            np.testing.assert_allclose(distance.weighted_squares(*arguments),
                                       distance.weighted_squares_reference(*arguments), rtol=tolerance)


def test_a_matrix_that_fits_the_memory_is_formed_once_and_another_never():
    calls = []

    def spy(A, B):
        calls.append(A.shape[0] * B.shape[0])
        return A @ B.T

    for memory, passes in ((N * N * 8, 1), (N * N * 8 - 1, 3)):
        K = gp.KernelOperator(X, spy, memory=memory)
        calls.clear()  # of the look at a few values
        for _ in range(3):
            K @ X
        assert sum(calls) == passes * (64 * 64 + 64 * 26 + 26 * 26)
    assert K.matvecs == 9


def test_memory_stays_bounded(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    n, k = 20_000, 2
    inputs = np.random.default_rng(0).standard_normal((n, 2)).astype(np.float32)
    V = np.ones((n, k), dtype=np.float32)
    gp.KernelOperator(inputs[:300], memory=0) @ V[:300]  # compile
    tracemalloc.start()
    try:
        gp.KernelOperator(inputs, "rbf") @ V
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6  # the matrix would take 1.6 GB


def test_the_log_determinant_knows_the_noise():
    K = operator("matern32", noise=1e-3)
    exact = np.linalg.slogdet(K.todense())[1]
    found = spectra.logdet(K, method="slq", probes=10, steps=40, rng=0)
    assert abs(found.value - exact) < 0.1 * abs(exact)
    assert abs(spectra.logdet(K).value - exact) < 1e-10 * abs(exact)


# What is refused


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"X": X[:, 0]}, ValueError, r"shape \(n, d\), a row for each point, found shape \(90,\); .* X\[:, None\]"),
    ({"X": np.where(X > 2, np.nan, X)}, ValueError, "inputs hold NaN or Inf"),
    ({"X": X + 1j}, TypeError, "inputs must be real numbers, found dtype complex128"),
    ({"X": np.zeros((0, 3))}, ValueError, "found shape"),
    ({"kernel": "gauss"}, ValueError, "no kernel 'gauss'; the names are rbf, matern12"),
    ({"kernel": 3.0}, TypeError, "kernel must be a name, a Covariance"),
    ({"kernel": gp.Matern12(), "lengthscale": 2.0}, ValueError, "lengthscale belongs to a kernel given by name"),
    ({"lengthscale": [1.0, 2.0]}, ValueError, "lengthscale has 2 values for inputs of 3 dimensions; give one, or 3"),
    ({"lengthscale": -1.0}, ValueError, "lengthscale must be positive and finite, found -1.0"),
    ({"lengthscale": np.ones((3, 3))}, ValueError, r"one a dimension, shape \(d,\), found an array of shape \(3, 3\)"),
    ({"lengthscale": "long"}, TypeError, "lengthscale must be a positive number, found 'long'"),
    ({"variance": 0.0}, ValueError, "variance must be positive and finite"),
    ({"variance": np.ones(3)}, ValueError, "variance must be a positive number, found an array"),
    ({"noise": -0.1}, ValueError, "noise must be a variance, a finite number of at least 0, found -0.1"),
    ({"noise": np.nan}, ValueError, "noise must be a variance"),
    ({"kernel": sk.Matern(nu=0.7)}, ValueError, "Matern kernels are known for nu 0.5, 1.5, 2.5 and inf, found 0.7"),
    ({"kernel": sk.ExpSineSquared()}, ValueError, "no covariance in 3 dimensions; use spectra.gp.Periodic"),
    ({"kernel": sk.Exponentiation(sk.RBF(), 2)}, TypeError, "scikit-learn's Exponentiation has no counterpart here"),
    ({"kernel": sk.RBF() * sk.WhiteKernel()}, ValueError, "multiply white kernels by constants only"),
    ({"kernel": sk.WhiteKernel()}, ValueError, "a WhiteKernel alone is a multiple of the identity"),
])
def test_what_makes_no_covariance_is_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        gp.KernelOperator(**{"X": X, **arguments})


def test_parameters_that_are_not_there_are_refused():
    K = operator("rbf")
    with pytest.raises(ValueError, match="no parameter 'alpha'; this kernel has variance, lengthscale"):
        K.with_parameters({"alpha": 2.0})
    with pytest.raises(ValueError, match="no parameter 'alpha'"):
        K.derivative("alpha")
    with pytest.raises(ValueError, match="lengthscale is one number; leave index out"):
        K.derivative("lengthscale", 0)
    with pytest.raises(ValueError, match="lengthscale has 3 values; give the index of one, found None"):
        operator("rbf, a length-scale a dimension").derivative("lengthscale")
    with pytest.raises(ValueError, match=r"two blocks of shape \(90, k\), found \(90, 2\) and \(90, 3\)"):
        K.bilinear(X[:, :2], X)
    with pytest.raises(ValueError, match="expected inputs of 3 dimensions like the operator's, found 2"):
        K.cross(X[:, :2])
    with pytest.raises(TypeError, match="combines with covariance functions and positive numbers, found 'rbf'"):
        gp.Matern12() + "rbf"
    with pytest.raises(ValueError, match="variance must be positive"):
        -1.0 * gp.Matern12()


def test_a_kernel_function_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"must return an array of shape \((\d+), \1\), found shape \(\1,\)"):
        gp.KernelOperator(X, lambda A, B: A[:, 0])


@pytest.mark.parametrize("function, error, message", [
    (lambda A, B: np.full((len(A), len(B)), np.nan), ValueError, "not finite"),
    (lambda A, B: np.ones((len(A), len(B)), complex), TypeError, "real numbers, found dtype complex"),
    (lambda A, B: A[:, :1] + 2 * B[:, :1].T, ValueError, "must be symmetric"),
    (gp.Matern12, TypeError, r"give an object, Matern12\(...\)"),
])
def test_functions_that_are_no_covariance_are_found_out_at_once(function, error, message):
    with pytest.raises(error, match=message):
        gp.KernelOperator(X, function)


def test_distances_beyond_all_numbers_are_refused():
    with pytest.raises(ValueError, match="too far apart in units of the length-scale"):
        gp.KernelOperator(1e200 * X, "matern32")
    far = gp.KernelOperator(1e150 * X, "matern32", lengthscale=1e150)
    np.testing.assert_allclose(far.todense(), gp.KernelOperator(X, "matern32").todense(), rtol=1e-9)


def test_inputs_are_copied_and_cannot_be_changed_from_within():
    mine = X.copy()
    K = gp.KernelOperator(mine, memory=0)
    before = K @ X
    mine[:] = 0
    np.testing.assert_array_equal(K @ X, before)

    def in_place(A, B):
        A -= 1.0
        return A @ B.T

    with pytest.raises(ValueError, match="read-only"):
        gp.KernelOperator(X, in_place).columns([0])


@pytest.mark.parametrize("name", ["variance", "noise"])
def test_names_that_every_covariance_matrix_has_are_not_for_functions(name):
    with pytest.raises(ValueError, match=f"may not be called '{name}'"):
        gp.UserKernel(cosine, {name: 1.0})


@pytest.mark.parametrize("arguments, message", [
    ({"noise": None}, "noise must be a variance, .* found None"),
    ({"noise": np.ones(N)}, r"K \+ Diagonal"),
    ({"memory": "1GB"}, "memory must be a number of bytes"),
    ({"memory": -1}, "memory must be a number of bytes"),
])
def test_arguments_of_the_wrong_kind_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        gp.KernelOperator(X, **arguments)


def test_blocks_that_do_not_fit_and_sums_from_nothing():
    with pytest.raises(ValueError, match=r"\(n, d\) and \(m, d\), found \(2,\) and \(1,\)"):
        gp.Matern12()([1.0, 2.0], [1.0])
    assert repr(sum([gp.Matern12(), gp.Linear()])) == repr(gp.Matern12() + gp.Linear())


def test_columns_by_number_mask_or_slice():
    K = gp.KernelOperator(np.random.default_rng(0).standard_normal((12, 2)), noise=0.3)
    dense = K.todense()
    for indices in ([0, 5], [-1], [], slice(2, 4), np.arange(12) < 3, np.array([7, 1], dtype=np.uint8)):
        expected = dense[:, indices] if np.size(indices) else dense[:, :0]
        np.testing.assert_allclose(K.columns(indices), expected, rtol=1e-14)
    for wrong in ([12], [0.5], 3, [-13]):
        with pytest.raises(ValueError, match="whole numbers below 12, a mask or a slice"):
            K.columns(wrong)


def test_lists_and_foreign_arrays_come_to_the_operator():
    torch = pytest.importorskip("torch")
    X = np.random.default_rng(0).standard_normal((12, 2))
    K = gp.KernelOperator(X, noise=0.3)
    ones = np.ones(12)
    assert K.bilinear([1.0] * 12, [1] * 12) == K.bilinear(ones, ones)
    np.testing.assert_array_equal(K.cross(torch.tensor(X[:3])) @ ones, K.cross(X[:3]) @ ones)
