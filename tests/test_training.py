"""The harness of the examples: networks of the published sizes, data, training, checkpoints."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from training import data, networks, train  # noqa: E402

PUBLISHED = {  # millions of parameters for 100 classes of 32 x 32 colour images
    "vgg16": 15.3, "vgg16bn": 15.3, "preresnet110": 1.7, "wrn28x10": 36.5,
}

LARGE = {"vgg16bn", "preresnet110", "wrn28x10"}


def made(count=24, size=8, channels=1, classes=3):
    """Classes that differ in their mean."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(count) % classes
    x = torch.randn(count, channels, size, size, generator=g) + y[:, None, None, None].float()
    return data.Split((x, y), (x, y), {"classes": classes, "channels": channels, "size": size})


def sgd(model, lr=0.05):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_sizes_as_published(name):
    found = networks.parameters(networks.build(name, classes=100, channels=3, size=32))
    assert abs(found / 1e6 - PUBLISHED[name]) < 0.05
    if name == "vgg16":
        assert found == 15_291_300  # thesis 4.6.1


def test_the_mlp_has_more_than_a_million_parameters():
    assert networks.parameters(networks.build("mlp")) == 784 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 10 + 10


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else [])
                                  for name in sorted(networks.NETWORKS)])
def test_a_step_lowers_the_loss(name):
    split = made()
    model = networks.build(name, **split.shape, seed=1).train()
    x, y = split.train
    if name == "transformer-text":
        x, y = y.repeat(3)[None, :8], y.repeat(3)[None, 1:9]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    before = train.gradient_step(model, optimizer, torch.nn.functional.cross_entropy, (x, y))
    after = torch.nn.functional.cross_entropy(model(x), y)
    assert torch.isfinite(after) and after < before[0]


@pytest.mark.parametrize("name", sorted(set(networks.NETWORKS) - {"transformer-text", "wrn28x10", "preresnet110"}))
@pytest.mark.parametrize("size", [8, 28, 32])
def test_images_of_every_size(name, size):
    model = networks.build(name, classes=4, channels=2, size=size).eval()
    assert model(torch.zeros(1, 2, size, size)).shape == (1, 4)


def test_weights_depend_on_the_seed_alone():
    first = networks.build("cnn", seed=3)
    torch.randn(5)
    again, other = networks.build("cnn", seed=3), networks.build("cnn", seed=4)
    assert torch.equal(first[0].weight, again[0].weight) and not torch.equal(first[0].weight, other[0].weight)


def test_a_text_transformer_does_not_look_ahead():
    model = networks.build("transformer-text", classes=5, size=8).eval()
    x = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]])
    y = x.clone()
    y[0, 5:] = 4
    assert torch.allclose(model(x)[..., :5], model(y)[..., :5], atol=1e-6)
    assert not torch.allclose(model(x)[..., 5:], model(y)[..., 5:], atol=1e-3)


def test_unknown_network_is_refused():
    with pytest.raises(ValueError, match="expected a network among"):
        networks.build("lenet")


def test_training_learns_and_says_so(capsys):
    split, seen = made(), []
    model = networks.build("cnn", **split.shape)
    history = train.fit(model, sgd(model), split, 6, batch=8, on_epoch=lambda model, row: seen.append(row["epoch"]))
    assert seen == list(range(1, 7)) and history[-1]["loss"] < 0.5 * history[0]["loss"]
    found = train.evaluate(model, split.test)
    assert (found.loss, found.accuracy) == (history[-1]["test_loss"], history[-1]["test_accuracy"])
    assert capsys.readouterr().err.count("epoch") == 6


def test_training_that_diverges_stops():
    split = made()
    model = networks.build("logistic", **split.shape)
    history = train.fit(model, sgd(model, lr=1e38), split, 50, progress=False)
    assert len(history) < 50


def test_schedule_scales_the_learning_rate():
    split, rates = made(), []
    model = networks.build("logistic", **split.shape)
    optimizer = sgd(model, lr=0.5)
    train.fit(model, optimizer, split, 3, schedule=lambda epoch: 1 / (1 + epoch), progress=False,
              on_epoch=lambda model, row: rates.append(optimizer.param_groups[0]["lr"]))
    assert rates == [0.5, 0.25, 0.5 / 3]


@pytest.mark.parametrize("name", ["mlp", pytest.param("preresnet110", marks=pytest.mark.slow)])
def test_interrupted_training_ends_at_the_same_digits(name, tmp_path):
    split = made()

    def started():
        model = networks.build(name, **split.shape)
        return model, torch.optim.Adam(model.parameters(), lr=1e-3)

    whole, optimizer = started()
    rows = train.fit(whole, optimizer, split, 3, batch=10, schedule=lambda epoch: 0.5 ** epoch, progress=False)
    part, optimizer = started()
    history = train.fit(part, optimizer, split, 1, batch=10, schedule=lambda epoch: 0.5 ** epoch, progress=False)
    train.save(tmp_path / "part.pt", part, optimizer, history, data={"name": "made"})

    found = train.restore(tmp_path / "part.pt")
    assert found.notes == {"data": {"name": "made"}} and found.history == history
    for key, value in part.state_dict().items():
        assert torch.equal(value, found.model.state_dict()[key])
    optimizer = torch.optim.Adam(found.model.parameters(), lr=1e-3)
    optimizer.load_state_dict(found.optimizer)
    more = train.fit(found.model, optimizer, split, 3, batch=10, schedule=lambda epoch: 0.5 ** epoch, progress=False,
                     history=found.history)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, found.model.state_dict()[key]), key
    assert [row["loss"] for row in more] == [row["loss"] for row in rows]


def test_data_of_a_package_are_normalised_and_split():
    pytest.importorskip("sklearn")
    split = data.load("digits", train=500, test=100, seed=1)
    (x, y), (u, v) = split.train, split.test
    assert x.shape == (500, 1, 8, 8) and u.shape == (100, 1, 8, 8) and len(v) == 100
    assert x.dtype == torch.float32 and y.dtype == torch.int64 and len(y.unique()) == 10
    assert abs(float(x.mean())) < 1e-5 and abs(float(x.std()) - 1) < 1e-3
    assert torch.equal(data.load("digits", train=500, test=100, seed=1).train[0], x)
    images = {tuple(image.flatten().tolist()) for image in x}
    assert not images & {tuple(image.flatten().tolist()) for image in u}
    with pytest.raises(ValueError, match="samples, found 5000"):
        data.load("digits", train=5000)


def test_images_and_text_of_the_mirror(spectra_data):
    colour = data.load("cifar10", train=20, test=10)
    assert colour.train[0].shape == (20, 3, 32, 32) and colour.shape == {"classes": 10, "channels": 3, "size": 32}
    text = data.load("tinyshakespeare", train=20, test=10)
    x, y = text.train
    assert x.shape == y.shape == (20, 32) and torch.equal(x[:, 1:], y[:, :-1]) and text.shape["classes"] == 65


def test_script_trains_and_resumes(tmp_path, capsys):
    pytest.importorskip("sklearn")
    path = tmp_path / "digits.pt"
    common = ["logistic", "digits", "--train", "300", "--test", "100", "--out", str(path), "--schedule", "plateau"]
    train.main([*common, "--epochs", "1"])
    train.main([*common, "--epochs", "4", "--resume"])
    found = train.restore(path)
    assert [row["epoch"] for row in found.history] == [1, 2, 3, 4]
    assert found.history[-1]["test_accuracy"] > 0.7
    assert found.notes["data"] == {"name": "digits", "train": 300, "test": 100, "seed": 0}
