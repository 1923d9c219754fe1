"""The training example, small."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import train_with_damping as example  # noqa: E402
from training import data  # noqa: E402


@pytest.mark.parametrize("rule", ["edge", "flat"])
def test_the_training_example_logs_and_draws(rule, tmp_path, capsys):
    torch.manual_seed(0)
    y = torch.arange(64) % 3
    x = torch.randn(64, 1, 8, 8) + y[:, None, None, None].float()
    split = data.Split((x, y), (x, y), {"classes": 3, "channels": 1, "size": 8})
    history, estimates = example.run(split, network="logistic", rule=rule, epochs=3, batch=16)
    assert history[-1]["loss"] < history[0]["loss"]
    assert all(row["sharpness"] > 0 and row["damping"] > 0 for row in history)
    assert [entry["step"] for entry in estimates] == ([1, 11] if rule == "edge" else [])
    assert "damping" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    example.draw(history, estimates, tmp_path / "training.png")
    assert (tmp_path / "training.png").stat().st_size > 10_000
