"""Which device a process takes, and what one process does for all."""

import pytest
import torch

from unidino.train.processes import Processes


@pytest.mark.parametrize(
    ("device", "local", "expected"),
    [
        ("cuda", None, "cuda:0"),
        ("cuda:1", None, "cuda:1"),
        ("cuda:1", (0, 1), "cuda:1"),
        ("cuda", (3, 4), "cuda:3"),
        ("cuda:1", (3, 4), "cuda:3"),
        (None, (2, 4), "cuda:2"),
        ("cpu", (3, 4), "cpu"),
    ],
)
def test_each_process_takes_the_gpu_of_its_number(device, local, expected, monkeypatch):
    for name, value in zip(("LOCAL_RANK", "LOCAL_WORLD_SIZE"), local or (), strict=False):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: None)
    assert Processes(device).device == torch.device(expected)


@pytest.mark.parametrize("name", ["cuda:7", "gpu", "cuda:x"])
def test_devices_that_are_not_there_are_named(name):
    with pytest.raises(ValueError, match=f"device '{name}' is not to be had here"):
        Processes(name)


def test_the_first_process_works_for_all(monkeypatch):
    first, second = Processes("cpu"), Processes("cpu")
    second.rank = 1
    assert first.first(max, 2, 3) == 3
    assert second.first(max, 2, 3) is None
    with pytest.raises(TypeError):
        first.first(max, 2)
    # The others learn of its error, and end without a word of their own.
    monkeypatch.setattr(second, "any", lambda flag: True)
    with pytest.raises(SystemExit) as ended:
        second.first(max, 2)
    assert ended.value.code == 1
