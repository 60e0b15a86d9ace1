"""Training as people run it: interrupted, in several processes, with every kind of option."""

import inspect
import json
import math
import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import sys
import time
import types
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import psutil
import pytest
import tifffile
import torch

import unidino
from tests.train.two_layers import VIT_TINY, NarrowHead, forked
from unidino.models import checkpoints
from unidino.models.vit import ARCHITECTURES
from unidino.progress import Pace
from unidino.train import EXIT_STOPPED, augment, dino, loop, state, train, training
from unidino.train.log import (
    CONFIG,
    ENVIRONMENT,
    EPOCHS,
    STEPS,
    EpochSums,
    TrainingLog,
    collapse_warnings,
    read_log,
)
from unidino.train.options import (
    BY_DEVICE,
    _chosen_sets,
    checked,
    model_config,
    small_defaults,
)
from unidino.train.processes import Processes
from unidino.train.run import NonFiniteLoss, Trainer
from unidino.train.state import ROLLING, WEIGHTS, newest, numbered

SMALL = {
    "arch": "vit_tiny",
    "embed_dim": 24,
    "size": 32,
    "local_size": 16,
    "local_crops_number": 2,
    "out_dim": 64,
    "epochs": 3,
    "epoch_length": 40,
    "batch_size_per_gpu": 8,
    "warmup_epochs": 1,
    "warmup_teacher_temp_epochs": 2,
    "freeze_last_layer": 1,
    "num_workers": 0,
    "lr": 0.02,
    "device": "cpu",
}


@pytest.fixture(scope="module", autouse=True)
def two_layers():
    """A vit_tiny of two layers, a narrow head: runs go and end as large ones, in much less time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "vit_tiny", VIT_TINY)
        patch.setattr(dino, "DINOHead", NarrowHead)
        yield


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """A CSV of eight sites of three channels, blobs of several sizes."""
    folder = tmp_path_factory.mktemp("plate")
    y, x = np.mgrid[:48, :56]
    rows = []
    for i in range(8):
        rng = np.random.default_rng(i)
        image = rng.integers(200, 900, (3, 48, 56))
        for c in range(3):
            for _ in range(4):
                cy, cx, r = rng.uniform(0, 48), rng.uniform(0, 56), rng.uniform(3, 4 + i)
                image[c] += (6000 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / r**2)).astype(int)
        row = {"plate": "p", "well": f"A{i + 1:02d}", "treatment": f"t{i // 2 % 3}"}
        row["control_type"] = "negcon" if i < 4 else None
        for c in range(3):
            row[f"stain{c}"] = f"{i}_{c}.tif"
            tifffile.imwrite(folder / row[f"stain{c}"], image[c].astype(np.uint16))
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "plate.csv", index=False)
    return str(folder / "plate.csv")


def options(plate, **changes):
    return SMALL | {"datasets": [plate], "intensity_scaling": "plate"} | changes


def losses(folder):
    return read_log(folder, STEPS)["loss"].tolist()


@pytest.fixture(scope="module")
def uninterrupted(two_layers, plate, tmp_path_factory):
    """A finished run, in its folder."""
    folder = tmp_path_factory.mktemp("whole")
    train(str(folder), **options(plate))
    return folder


TORCHRUN = ("--standalone", "--nproc_per_node")


def command(folder, given):
    """The words after the program of a run's command line."""
    words = ["--output_dir", str(folder)]
    for name, value in given.items():
        words += [f"--{name}", str(value)]
    return words


class Forked:
    """A run of `two_layers` in a forked process, with the parts of a Popen that tests use.

    Imports take most of the seconds of a small run: they are made once, in a server that forks.
    """

    def __init__(self, words, log, launcher=(), **environment):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.train.two_layers", "timm", "tensorboard"])
        self.log = Path(log)
        given = (words, str(log), environment, launcher)
        self.process = context.Process(target=forked, args=given)
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout=None):
        self.process.join(timeout)

    def said(self):
        return self.log.read_text() if self.log.exists() else ""

    def communicate(self, timeout=None):
        self.wait(timeout)
        return self.said(), None


def launch(folder, given, *launcher):
    """Start a run with the networks of `two_layers`, by torchrun where words for it are given."""
    return Forked(command(folder, given), f"{folder}.said", launcher, OMP_NUM_THREADS="1")


def launch_pair(folder, given):
    """Two processes that train together, told so as torchrun tells them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        told["MASTER_PORT"] = str(free.getsockname()[1])
    words = command(folder, given)
    return [Forked(words, f"{folder}.{rank}", RANK=rank, LOCAL_RANK=rank, **told) for rank in "01"]


def wait_for_steps(folder, count, process):
    """Until the log holds `count` steps; stops at once when the process ends."""
    log = Path(folder) / STEPS
    for _ in range(2400):
        if log.exists() and len(log.read_text().splitlines()) >= count:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError("no progress")


# What a run leaves.


def test_a_run_leaves_checkpoints_logs_and_weights(uninterrupted, plate):
    steps = read_log(uninterrupted, STEPS)
    epochs = read_log(uninterrupted, EPOCHS)
    assert steps["step"].tolist() == list(range(15))
    assert epochs["epoch"].tolist() == [1, 2, 3]
    for epoch, part in steps.groupby(steps["step"] // 5):
        for name in ("loss", "teacher_entropy", "grad_norm"):
            assert epochs[name][epoch] == pytest.approx(part[name].mean())
    assert steps["lr"].max() == pytest.approx(0.02 * 8 / 256)
    assert steps["lr"][0] == 0 and steps["teacher_temp"].tolist() == [0.01] * 5 + [0.04] * 10
    assert steps["weight_decay"][0] == pytest.approx(0.04)
    assert 1 <= epochs["effective_rank"].min() <= epochs["effective_rank"].max() <= 24
    config = json.loads((uninterrupted / CONFIG).read_text())
    assert set(inspect.signature(train).parameters) <= set(config)
    assert steps["momentum"][0] == pytest.approx(config["momentum_teacher"])
    about = json.loads((uninterrupted / ENVIRONMENT).read_text())
    assert about["libraries"]["torch"] == torch.__version__.split("+")[0]
    assert list((uninterrupted / "tensorboard").glob("events*"))
    model = unidino.load_model(uninterrupted / WEIGHTS)
    assert model.config.intensity == "plate" and model.config.size == 32
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 24)


def test_checkpoints_have_the_published_form(uninterrupted):
    content = checkpoints.load_pth(uninterrupted / numbered(3))
    assert {"student", "teacher", "optimizer", "epoch", "args", "dino_loss"} <= set(content)
    assert content["epoch"] == 3 and content["args"].arch == "vit_tiny"
    names = {"backbone.cls_token", "head.mlp.4.bias", "head.last_layer.weight_g"}
    assert names <= set(content["teacher"])
    assert {f"module.{name}" for name in content["teacher"]} == set(content["student"])
    # The same weights by both routes.
    by_pth = checkpoints.load_checkpoint(uninterrupted / ROLLING)
    by_safetensors = checkpoints.load_checkpoint(uninterrupted / WEIGHTS)
    assert by_pth.config == by_safetensors.config
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(by_pth(x), by_safetensors(x))
    student = checkpoints.load_checkpoint(uninterrupted / ROLLING, key="student")
    assert not torch.equal(student(x), by_pth(x))


def test_a_finished_run_stays_as_it_is(uninterrupted, plate):
    before = losses(uninterrupted)
    train(str(uninterrupted), **options(plate))
    assert losses(uninterrupted) == before


# Interruptions.


@pytest.mark.parametrize("after", [6, 12])
def test_a_killed_run_goes_on_as_if_never_killed(after, plate, tmp_path, uninterrupted):
    process = launch(tmp_path, options(plate))
    wait_for_steps(tmp_path, after, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(losses(tmp_path))
    assert after <= done < 15
    # The checkpoint is that of the last whole epoch; the steps after it are taken again.
    assert newest(tmp_path)[1]["step"] in (done // 5 * 5, done // 5 * 5 - 5)
    train(str(tmp_path), **options(plate))
    same_logs(tmp_path, uninterrupted)


def same_logs(folder, other):
    """The logs of two runs hold the same lines, all of them JSON, the times aside."""
    for name in (STEPS, EPOCHS):
        lines = [
            [json.loads(line) for line in (f / name).read_text().splitlines()]
            for f in (folder, other)
        ]
        for line in (*lines[0], *lines[1]):
            line.pop("images_per_second", None)
        assert lines[0] == lines[1], name


def kill_at(monkeypatch, owner, name, call):
    """Make the `call`-th call of a function fail, as a kill at that moment does."""
    whole, calls = getattr(owner, name), []

    def killed(*arguments, **named):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return whole(*arguments, **named)

    monkeypatch.setattr(owner, name, killed)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (loop, "save", 2),  # before the checkpoint after an epoch
        (state, "save_model", 2),  # after it, before the epoch is summed up
        (EpochSums, "means", 2),
        (loop, "collapse_warnings", 3),  # of the last epoch
        (TrainingLog, "_to_board", 12),  # after the line of an epoch, 5 steps before and 5 after
        (loop.Trainer, "train_step", 9),  # a rolling checkpoint within an epoch lies before it
    ],
)
def test_log_and_checkpoint_agree_wherever_a_kill_falls(
    owner, name, call, plate, tmp_path, uninterrupted, monkeypatch
):
    given = options(plate, checkpoint_minutes=1e-9 if name == "train_step" else 15.0)
    kill_at(monkeypatch, owner, name, call)
    with pytest.raises(KeyboardInterrupt):
        train(str(tmp_path), **given)
    monkeypatch.undo()
    train(str(tmp_path), **given)
    same_logs(tmp_path, uninterrupted)
    unidino.load_model(tmp_path / WEIGHTS)


def test_damaged_logs_are_named_and_mended(plate, tmp_path, uninterrupted, capfd):
    folder = shutil.copytree(uninterrupted, tmp_path / "run")
    for name in (STEPS, EPOCHS):
        lines = (folder / name).read_text().splitlines(keepends=True)
        lines[1:1] = ["\n", '{"step": 1, "lo\n', '{"step": "one"}\n', "[]\n", "\0\0\n"]
        (folder / name).write_text("".join(lines))
        with pytest.raises(ValueError, match=f"{name}: line 2 is damaged.*command once more"):
            read_log(folder, name)
    train(str(folder), **options(plate))
    assert "epochs.jsonl: line 3 is damaged" in capfd.readouterr().err
    same_logs(folder, uninterrupted)
    # What a checkpoint holds of the epochs is put back.
    (folder / EPOCHS).unlink()
    train(str(folder), **options(plate))
    same_logs(folder, uninterrupted)


def test_numbers_that_are_not_finite_leave_valid_lines(tmp_path):
    log = TrainingLog(tmp_path, True, 0)
    log.step({"step": 0, "loss": 1.0, "grad_norm": math.inf})
    log.close()
    assert (tmp_path / STEPS).read_text() == '{"step": 0, "loss": 1.0}\n'


@pytest.mark.parametrize("to", ["process", "group"])
def test_sigterm_writes_a_checkpoint_first(to, plate, tmp_path, uninterrupted):
    given = options(plate, num_workers=2 if to == "group" else 0)
    process = launch(tmp_path, given)
    wait_for_steps(tmp_path, 7, process)
    if to == "group":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)
    said = process.communicate()[0]
    assert process.returncode == EXIT_STOPPED, said
    done = len(losses(tmp_path))
    assert f"stopped by SIGTERM after step {done}" in said
    assert newest(tmp_path)[1]["step"] == done
    train(str(tmp_path), **options(plate))
    same_logs(tmp_path, uninterrupted)


def test_a_signal_that_ends_what_reads_for_the_monitor_stops_the_run(plate, tmp_path, capfd):
    def killed(folder, device):
        raise RuntimeError("DataLoader worker exited unexpectedly")

    trainer = make_run(plate, tmp_path, monitor=plate, monitor_label="treatment")
    trainer.step = trainer.steps_per_epoch
    watched = types.SimpleNamespace(accuracy=killed)
    whole = loop.Loop(trainer, tmp_path, {}, TrainingLog(tmp_path, False, 0), watched)
    epoch = EpochSums({"embeddings": torch.rand(4, 8)})
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        whole._finish_epoch(epoch, types.SimpleNamespace(requested=False))
    with pytest.raises(SystemExit) as ended:
        whole._finish_epoch(epoch, types.SimpleNamespace(requested=True))
    assert ended.value.code == EXIT_STOPPED
    assert "stopped by SIGTERM after step 5" in capfd.readouterr().err


def test_two_trainings_do_not_share_a_folder(plate, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_PATIENCE", 0.1)
    with filelock.FileLock(tmp_path / loop.LOCK):
        with pytest.raises(ValueError, match="another training is at work in .*another output_dir"):
            train(str(tmp_path), **options(plate))
    assert not (tmp_path / CONFIG).exists()


def test_checkpoints_are_known_by_every_value(tmp_path):
    content = {"step": 10, "log": {"loss": 0.5, "files": ["a", "b"], "weights": torch.ones(3)}}
    state.write_whole(content, tmp_path / "c.pth")
    data = (tmp_path / "c.pth").read_bytes()
    read = state.read_whole(tmp_path / "c.pth")
    assert read.keys() == content.keys() and read["log"]["files"] == ["a", "b"]
    assert data.count(b"K\n") == 1  # the 10 in the pickle
    (tmp_path / "c.pth").write_bytes(data.replace(b"K\n", b"K\x0b"))
    with pytest.raises(ValueError, match="c.pth is damaged: its contents do not match"):
        state.read_whole(tmp_path / "c.pth")


def test_workers_that_ignore_sigterm_end_with_a_run_that_fails(plate, tmp_path):
    folder = Path(shutil.copytree(Path(plate).parent, tmp_path / "plate"))
    for file in folder.glob("*.tif"):
        tifffile.imwrite(file, tifffile.imread(file), compression="zlib")
        with tifffile.TiffFile(file) as tiff:
            start = tiff.pages[0].dataoffsets[0]
        with open(file, "r+b") as opened:  # the header stays whole
            opened.seek(start)
            opened.write(bytes(64))
    given = options(str(folder / "plate.csv"), num_workers=2, intensity_scaling="dtype")
    process = launch(tmp_path / "out", given)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("error: 10 images drawn one after another"), said


def test_other_images_under_the_same_names_do_not_continue_a_run(plate, tmp_path):
    folder = Path(shutil.copytree(Path(plate).parent, tmp_path / "plate"))
    given = options(str(folder / "plate.csv"), epochs=2)
    train(str(tmp_path / "out"), **given)
    for file in folder.glob("*.tif"):
        os.utime(file, (1, 1))
    train(str(tmp_path / "out"), **given)  # only the times differ
    image = tifffile.imread(folder / "3_1.tif")
    tifffile.imwrite(folder / "3_1.tif", image + 1)
    with pytest.raises(ValueError, match="other images under the same names: those of .*plate.csv"):
        train(str(tmp_path / "out"), **given)


def test_an_elastic_restart_resumes_by_itself(plate, tmp_path, uninterrupted):
    process = launch(tmp_path, options(plate), *TORCHRUN, "1", "--max_restarts", "1")
    wait_for_steps(tmp_path, 6, process)
    (trains,) = psutil.Process(process.pid).children(recursive=True)
    trains.kill()
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert "going on from checkpoint.pth" in said
    np.testing.assert_allclose(losses(tmp_path), losses(uninterrupted), rtol=1e-4)


# Several processes.


@pytest.mark.parametrize("centring", ["mean", "sinkhorn"])
def test_processes_and_accumulation_equal_one_process(centring, plate, tmp_path):
    given = options(plate, drop_path_rate=0.0, centring=centring, epochs=2, clip_grad=0.5)
    train(str(tmp_path / "one"), **given)
    halves = given | {"batch_size_per_gpu": 4}
    if centring == "mean":
        pair = [launch(tmp_path / "two", halves, *TORCHRUN, "2")]
    else:
        pair = launch_pair(tmp_path / "two", halves)
    said = "".join(process.communicate()[0] for process in pair)
    assert all(process.returncode == 0 for process in pair), said
    assert "total batch 8 (4 x grad_accum 1 x 2 processes" in said
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=2e-4)
    if centring == "mean":
        # Sinkhorn-Knopp assigns a whole batch at once, so it depends on how a step is divided.
        train(str(tmp_path / "half"), **given | {"batch_size_per_gpu": 4, "grad_accum": 2})
        np.testing.assert_allclose(losses(tmp_path / "half"), losses(tmp_path / "one"), rtol=2e-4)


# What goes wrong.


def test_a_loss_that_is_not_finite_stops_the_run(plate, tmp_path):
    given = options(plate, lr=1e25, clip_grad=0.0, warmup_epochs=0, checkpoint_minutes=1e-9)
    with pytest.raises(NonFiniteLoss, match=r"not finite at step \d+ .*\.tif \(plane 1\)"):
        train(str(tmp_path), **given)
    said = json.loads((tmp_path / "nonfinite-0.json").read_text())
    assert len(said["images"]) == 8
    file, content = newest(tmp_path)
    assert file.name == ROLLING and content["step"] == said["step"]
    assert len(losses(tmp_path)) == said["step"]


def test_a_step_begun_before_the_last_ones_numbers_are_read(
    plate, tmp_path, uninterrupted, monkeypatch
):
    monkeypatch.setattr(loop.Loop, "_ahead", True)
    train(str(tmp_path / "ahead"), **options(plate))
    for name in (STEPS, EPOCHS):
        told, same = (read_log(folder, name) for folder in (tmp_path / "ahead", uninterrupted))
        columns = [column for column in told if column != "images_per_second"]
        pd.testing.assert_frame_equal(told[columns], same[columns])
    given = options(plate, lr=1e25, clip_grad=0.0, warmup_epochs=0)
    with pytest.raises(NonFiniteLoss, match=r"not finite at step \d+ .*\.tif \(plane 1\)"):
        train(str(tmp_path / "wrong"), **given)
    said = json.loads((tmp_path / "wrong" / "nonfinite-0.json").read_text())
    assert len(losses(tmp_path / "wrong")) == said["step"]


def test_a_collapse_is_warned_of(plate, tmp_path, capfd):
    train(str(tmp_path), **options(plate, lr=1e-12, min_lr=0.0, teacher_temp=50.0, epochs=2))
    said = capfd.readouterr().err
    assert "WARNING, epoch 2, collapse: the loss" in said and "nothing is learnt" in said
    assert "entropy 4.159 is that of equal probabilities" in said
    warnings = read_log(tmp_path, EPOCHS)["warnings"]
    assert len(warnings[1]) == 2
    assert "WARNING" in (tmp_path / "train.log").read_text()


@pytest.mark.parametrize(
    ("loss", "entropy", "rank", "words"),
    [
        (0.99 * math.log(512), 3.0, 20.0, None),
        (math.log(512), 3.0, 20.0, "nothing is learnt"),
        (3.0, math.log(512), None, "equal probabilities"),
        (3.0, 0.001, None, "one prototype takes all"),
        (3.0, 3.0, 1.2, "all images look alike"),
    ],
)
def test_what_counts_as_a_collapse(loss, entropy, rank, words):
    means = {"dino_loss": loss, "teacher_entropy": entropy, "effective_rank": rank}
    found = collapse_warnings(means, 512)
    assert len(found) == (words is not None)
    assert words is None or words in found[0]


def test_a_damaged_checkpoint_gives_way_to_an_earlier_one(plate, tmp_path, uninterrupted, capfd):
    train(str(tmp_path), **options(plate, saveckp_freq=2))
    rolling = tmp_path / ROLLING
    for damage in ("cut", "changed"):
        data = bytearray((tmp_path / numbered(3)).read_bytes())
        if damage == "cut":
            data = data[: len(data) // 2]
        else:
            # One bit in the middle, where the weights lie.
            data[len(data) // 2] ^= 1
        rolling.write_bytes(data)
        file, content = newest(tmp_path)
        assert file.name == numbered(3) and content["step"] == 15
    assert "Looking for an earlier checkpoint" in capfd.readouterr().err
    (tmp_path / numbered(3)).unlink()
    train(str(tmp_path), **options(plate, saveckp_freq=2))
    assert losses(tmp_path) == losses(uninterrupted)
    for file in tmp_path.glob("checkpoint*.pth"):
        file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no checkpoint in .* can be read: .*checkpoint.pth"):
        train(str(tmp_path), **options(plate))


def test_other_options_do_not_continue_a_run(plate, tmp_path, uninterrupted):
    with pytest.raises(ValueError, match="a run with other options: lr was 0.02, is 0.01; seed"):
        train(str(uninterrupted), **options(plate, lr=0.01, seed=1))
    # How a run is carried out may change.
    train(str(uninterrupted), **options(plate, num_workers=1, saveckp_freq=1))
    with pytest.raises(ValueError, match="total_batch was 8, is 4"):
        train(str(uninterrupted), **options(plate, batch_size_per_gpu=4))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"use_fp16": True, "precision": "bf16"}, "use_fp16 goes against precision 'bf16'"),
        ({"batch_size_per_gpu": 64}, "the total batch is 64 images .* an epoch has 40"),
        ({"epoch_length": 24, "batch_size_per_gpu": 25}, "an epoch has 24"),
        ({"optimizer": "adam"}, "optimizer 'adam' is not one of adamw, sgd, lars. Did you mean"),
        ({"warmup_epochs": 4}, "warmup_epochs is 4, more than the 3 epochs"),
        ({"lr": -1.0}, "lr is -1.0; it must be above 0"),
        ({"clip_grad": -1.0}, "clip_grad is -1.0; it must be 0 or more"),
        ({"momentum_teacher": 1.5}, "momentum_teacher is 1.5; expected 0 to 1"),
        ({"group_size": 0}, "group_size is 0; it must be above 0"),
        ({"min_contrast": 0.6}, "min_contrast is 0.6; expected 0 to 0.5"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0; expected 0 to below 1"),
        ({"local_size": 20}, "local_size 20 is not a multiple of the patch size 16"),
        ({"size": 40}, "size 40 is not a multiple of the patch size 16; take 32"),
        ({"arch": "vit_tin"}, "unknown arch 'vit_tin'"),
        ({"embed_dim": 25}, "embed_dim 25 is not a multiple of vit_tiny's 3 heads"),
        ({"datasets": ["BBBC012"]}, "unknown valset 'BBBC012'.*Did you mean BBBC021"),
        ({"datasets": ["nowhere.csv"]}, "no table at .*nowhere.csv"),
        ({"use_example_data": True}, "use_example_data trains on the example plate alone"),
        ({"datasets": [], "include_hpa": False}, None),
        ({"dataset_weights": [1, 2]}, "dataset_weights has 2 numbers for 1 datasets"),
        ({"dataset_weights": [0]}, "dataset_weights is .0.; expected numbers above 0"),
        ({"intensity_range": [0, 1]}, "intensity_range goes with the intensity scaling 'dtype'"),
        ({"koleo_weight": 0.1, "batch_size_per_gpu": 1}, "koleo_weight needs a batch_size_per_gpu"),
        ({"ckpt": "nowhere.pth"}, "ckpt nowhere.pth is no file"),
        ({"monitor_label": "moa"}, "monitor_label is given without monitor"),
        ({"in_chans": 5}, "has 3 channels .*, in_chans is 5"),
        ({"device": "cuda:7"}, "device 'cuda:7' is not to be had here"),
        ({"arch": "timm:resnet18", "reg_tokens": 2, "embed_dim": None}, "reg_tokens applies to"),
        ({"epochs": "three"}, "parameter epochs takes int or None, got 'three'"),
    ],
)
def test_wrong_options_stop_before_any_work(wrong, message, plate, tmp_path):
    if message is None:
        flags = {f"include_{name}": False for name in ("jumpcp", "bbbc021", "bbbc037", "insect")}
        wrong, message = wrong | flags, "no dataset is included"
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        train(str(tmp_path / "out"), **options(plate, **wrong))
    assert not list(tmp_path.rglob("*.pth")) and not list(tmp_path.rglob("steps.jsonl"))


def left_out(**given):
    """The options of `train` with these alone given."""
    defaults = {n: p.default for n, p in inspect.signature(train).parameters.items()}
    return defaults | {"output_dir": "out", "datasets": ["a.csv"]} | given


def test_options_left_out_are_published_on_a_gpu_and_small_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device in (None, "cuda", "cuda:1"):
        made = checked(left_out(device=device), train)
        assert (made["arch"], made["out_dim"], made["epochs"]) == ("vit_small", 20000, 201)
        assert made["epoch_length"] is None and made["lr"] == 0.0004
        assert small_defaults(left_out(device=device), made) == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in (None, "cpu"):
        given = left_out(device=device, arch="vit_small", epochs=201)
        made = checked(given, train)
        assert (made["arch"], made["epochs"], made["out_dim"]) == ("vit_small", 201, 1024)
        said = small_defaults(given, made)
        assert "out_dim 1024 (published 20000)" in said and "epoch_length 1280," in said
        assert " arch" not in said and " epochs " not in said
    # Counts of epochs that were left out are no more than all; those given are refused.
    assert checked(left_out(epochs=1), train)["warmup_teacher_temp_epochs"] == 1
    with pytest.raises(ValueError, match="freeze_last_layer is 2, more than the 1 epochs"):
        checked(left_out(epochs=1, freeze_last_layer=2), train)
    everything = {n: values[1] for n, values in BY_DEVICE.items()}
    assert small_defaults(left_out(**everything), everything) == ""


def test_a_line_without_options_trains_a_small_model(plate, tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(BY_DEVICE, "epoch_length", (None, 32))
    monkeypatch.setattr(Pace, "AFTER", 0.0)
    monkeypatch.setattr(Pace, "WORTH", -1.0)
    weights = train(str(tmp_path), datasets=plate, epochs=2, embed_dim=24, size=32, local_size=16,
                    num_workers=0, device="cpu")  # fmt: skip
    assert unidino.load_model(weights).config.arch == "vit_tiny"
    said = capfd.readouterr().err
    lines = [line for line in said.splitlines() if not line.startswith("training:")]
    assert lines[0].startswith("on a CPU the published options take weeks; those left out are")
    assert "images a second on this CPU: it will take" in said
    assert "images a second: about " in said
    assert "WARNING" not in said.split("epoch 1:")[0]


def test_a_run_of_weeks_is_warned_of(plate, tmp_path, capfd):
    run = make_run(plate, tmp_path)
    before = {name: value.clone() for name, value in run.student.state_dict().items()}
    run.seconds_an_image = lambda: 3600.0
    loop._announce(run, [])
    said = capfd.readouterr().err
    assert "about 0.00028 images a second on this CPU: it will take 5 days" in said
    assert "WARNING: 5 days on this CPU. Train on a GPU" in said
    # The trial leaves the networks as they are.
    assert 0 < Trainer.seconds_an_image(run) < 60
    for name, value in run.student.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in run.student.parameters())


def test_sets_are_listed_or_flagged():
    given = dict.fromkeys(f"include_{name}" for name in ("jumpcp", "bbbc021", "bbbc037", "hpa"))
    given |= {"include_insect": None, "use_example_data": False, "dataset_weights": None}
    published = ["jumpcp-valset", "BBBC021", "BBBC037", "HPA", "insect"]
    assert _chosen_sets(given | {"datasets": None}) == published
    assert _chosen_sets(given | {"datasets": "HPA,a.csv"}) == ["HPA", "a.csv"]
    flagged = given | {"datasets": ["a.csv"], "include_hpa": True}
    assert _chosen_sets(flagged) == ["HPA", "a.csv"]
    assert _chosen_sets(given | {"datasets": None, "include_hpa": False}) == [
        name for name in published if name != "HPA"
    ]
    example = given | {"datasets": None, "use_example_data": True}
    assert _chosen_sets(example) == ["example_data"]


def test_a_monitor_needs_a_label_it_has(plate, tmp_path):
    with pytest.raises(ValueError, match="needs monitor_label"):
        train(str(tmp_path), **options(plate, monitor=plate))
    with pytest.raises(ValueError, match="no column 'mechanism'"):
        train(str(tmp_path), **options(plate, monitor=plate, monitor_label="mechanism"))
    own = {"monitor_label": "treatment", "monitor_exclude": ["treatment"]}
    with pytest.raises(ValueError, match="monitor_exclude names treatment, the monitor's label"):
        train(str(tmp_path), **options(plate, monitor=plate, **own))


def test_a_batch_that_fills_the_memory_says_what_to_lower(plate, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("out of memory.")

    monkeypatch.setattr(loop.Trainer, "train_step", full)
    with pytest.raises(RuntimeError, match=r"memory\. Take a smaller batch_size_per_gpu\."):
        train(str(tmp_path), **options(plate))


def test_the_command_line_says_errors_in_one_line(plate, tmp_path, capsys, monkeypatch):
    words = command(tmp_path, options(plate) | {"datasets": "nowhere.csv"})
    monkeypatch.setattr(sys, "argv", ["unidino.train", *words])
    with pytest.raises(SystemExit, match="^error: no table at .*$") as ended:
        runpy.run_module("unidino.train", run_name="__main__")
    assert "\n" not in ended.value.code  # a text: the status is 1
    with pytest.raises(SystemExit):
        training.main(["--output_dir", str(tmp_path), "--learning_rate", "1"])
    assert "unrecognized arguments: --learning_rate" in capsys.readouterr().err


# Options do what they say.


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd"},
        {"optimizer": "lars"},
        {"precision": "bf16"},
        {"use_fp16": True},
        {"centring": "sinkhorn", "koleo_weight": 0.1, "reg_tokens": 2},
        {"cls_reduced_dim": 8, "use_bn_in_head": True, "norm_last_layer": False},
        {"pooling": "mean", "patch_size": 8, "clip_grad": 0.0},
        {"in_chans": 3, "local_crops_number": 0, "intensity_scaling": "image"},
        {"arch": "vit_xbase", "zoom_min": 0.7, "zoom_max": 1.5, "blur_prob": 0.5},
        {"arch": "timm:test_resnet", "embed_dim": None, "noise_prob": 0.5},
        {"arch": "timm:test_vit2", "embed_dim": None},
        {"arch": "torchvision:shufflenet_v2_x0_5", "embed_dim": None, "size": 64},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_every_kind_of_model_trains_and_loads(changes, plate, tmp_path):
    given = options(plate, epochs=1, epoch_length=16, warmup_epochs=0, **changes)
    given["warmup_teacher_temp_epochs"] = 0
    weights = train(str(tmp_path), **given)
    model = unidino.load_model(weights)
    x = torch.rand(2, given.get("in_chans", 1), given["size"], given["size"])
    embedded = model(x)
    assert torch.isfinite(embedded).all()
    assert embedded.shape[1] == changes.get("cls_reduced_dim", embedded.shape[1])
    assert np.isfinite(losses(tmp_path)).all() and len(losses(tmp_path)) == 2
    again = checkpoints.load_checkpoint(tmp_path / ROLLING)
    torch.testing.assert_close(again(x), embedded)


def test_the_monitor_is_followed(plate, tmp_path, capfd):
    given = options(plate, monitor=plate, monitor_label="treatment", monitor_freq=2)
    train(str(tmp_path), **given)
    accuracy = read_log(tmp_path, EPOCHS)["accuracy"]
    assert accuracy.isna().tolist() == [True, False, False]
    assert accuracy.dropna().between(0, 1).all()
    assert not (tmp_path / "monitor").exists()
    # In the precision of the training, whatever the processor can do.
    assert "on cpu in fp32" in capfd.readouterr().err


class Images:
    """As many images as a run needs to know of."""

    published_length = 80
    image_count = 24

    @staticmethod
    def files(image):
        return [str(image)]


def make_run(plate, tmp_path, **changes):
    given = checked(
        dict.fromkeys(inspect.signature(train).parameters)
        | {n: p.default for n, p in inspect.signature(train).parameters.items()}
        | options(plate, output_dir=str(tmp_path), **changes),
        train,
    )
    views = augment.ViewSettings(size=32, local_size=16, local_crops_number=2)
    config = model_config(given)
    return Trainer(given, config, views, Images, Processes("cpu"))


def random_batch(images, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draws = torch.zeros(images, 4, 8)
    tone = torch.zeros(images, 4, 1, 2)
    tone[..., 1] = 1

    def raw(views, side):
        return torch.rand(images, views, 1, side, side, generator=generator)

    return {
        "image": torch.arange(images),
        "global": raw(2, 32),
        "local": raw(2, 16),
        "draws": draws,
        "tone": tone,
        "low": torch.zeros(images, 1),
        "high": torch.ones(images, 1),
    }


def test_gradients_are_clipped(plate, tmp_path):
    changes = {"optimizer": "sgd", "weight_decay": 0.0, "warmup_epochs": 0, "lr": 32.0}
    moved = {}
    for clip in (0.0, 1e-3):
        run = make_run(plate, tmp_path, clip_grad=clip, freeze_last_layer=0, **changes)
        before = [p.detach().clone() for p in run.student.parameters()]
        norm = run.train_step([random_batch(8)]).numbers()[0]["grad_norm"]
        pairs = zip(run.student.parameters(), before, strict=True)
        moved[clip] = [float((p.detach() - b).norm()) for p, b in pairs], norm
    # The rate is 1 here, so that a parameter moves by its gradient.
    assert max(moved[0.0][0]) > 1e-2
    assert max(moved[1e-3][0]) <= 1.001e-3
    # Before clipping, the norm is the same.
    assert moved[0.0][1] == pytest.approx(moved[1e-3][1], rel=1e-5)
    assert moved[0.0][1] == pytest.approx(math.hypot(*moved[0.0][0]), rel=1e-3)


def test_the_last_layer_is_frozen_at_first(plate, tmp_path):
    run = make_run(plate, tmp_path, freeze_last_layer=1, warmup_epochs=0)
    start = run.student.head.last_layer.weight_v.detach().clone()
    for step in range(6):
        run.train_step([random_batch(8, seed=step)])
        same = torch.equal(run.student.head.last_layer.weight_v, start)
        assert same == (step < 5), "an epoch has five steps"


def test_a_checkpoint_of_a_gpu_goes_on_on_a_cpu(plate, tmp_path, uninterrupted):
    _, content = newest(uninterrupted)
    for group in content["optimizer"]["param_groups"]:
        group["fused"] = True
    run = make_run(plate, tmp_path, epochs=4)
    state.restore(content, run)
    assert run.step == 15 and not any(group["fused"] for group in run.optimizer.param_groups)
    assert run.train_step([random_batch(8)]).step == 15


def test_the_teacher_follows_the_student(plate, tmp_path):
    run = make_run(plate, tmp_path, warmup_epochs=0, momentum_teacher=0.9)
    before = [p.clone() for p in run.teacher.parameters()]
    run.train_step([random_batch(8)])
    trios = zip(before, run.student.parameters(), run.teacher.parameters(), strict=True)
    for old, student, teacher in trios:
        torch.testing.assert_close(teacher, 0.9 * old + 0.1 * student.detach())
        assert teacher.grad is None


def test_a_warm_start_gives_two_separate_networks(plate, tmp_path, uninterrupted):
    weights = str(uninterrupted / WEIGHTS)
    run = make_run(plate, tmp_path, ckpt=weights)
    source = unidino.load_model(weights).weights()
    for network in (run.student, run.teacher):
        for name, value in network.backbone.weights().items():
            torch.testing.assert_close(value, source[name], msg=name)
    student = {p.data_ptr() for p in run.student.parameters()}
    assert not student & {p.data_ptr() for p in run.teacher.parameters()}
    # Another tile size: position embeddings are interpolated.
    train(str(tmp_path / "larger"), **options(plate, ckpt=weights, size=48, epochs=1, **{
        "warmup_teacher_temp_epochs": 0,
    }))  # fmt: skip
    larger = unidino.load_model(tmp_path / "larger" / WEIGHTS)
    assert larger.weights()["pos_embed"].shape == (1, 10, 24)
    with pytest.raises(ValueError, match="does not fit vit_tiny"):
        make_run(plate, tmp_path, ckpt=weights, embed_dim=48)


def test_what_goes_on_from_weights_stays_under_their_licence(plate, tmp_path, uninterrupted):
    source = unidino.load_model(uninterrupted / WEIGHTS)
    assert make_run(plate, tmp_path).teacher.backbone.licence == ""
    checkpoints.save_model(source, tmp_path / "nc.safetensors", {"licence": "CC BY-NC 4.0"})
    run = make_run(plate, tmp_path, ckpt=str(tmp_path / "nc.safetensors"))
    assert run.teacher.backbone.licence == "CC BY-NC 4.0"


def test_weights_know_the_size_of_their_pixels(plate, tmp_path):
    shutil.copytree(Path(plate).parent, tmp_path / "data")
    csv = tmp_path / "data" / "plate.csv"
    few = options(str(csv), epochs=1, epoch_length=8, warmup_epochs=0, freeze_last_layer=0)
    few |= {"warmup_teacher_temp_epochs": 0}
    train(str(tmp_path / "unknown"), **few)
    pd.read_csv(csv).assign(pixel_size=0.65).to_csv(csv, index=False)
    train(str(tmp_path / "known"), **few)
    for name in (WEIGHTS, ROLLING):
        known, unknown = (
            checkpoints.load_checkpoint(tmp_path / folder / name).config.pixel_size
            for folder in ("known", "unknown")
        )
        assert (known, unknown) == (0.65, None)
    # A run that did not know it is the same run.
    train(str(tmp_path / "unknown"), **few)


def test_a_log_that_is_absent(tmp_path):
    with pytest.raises(FileNotFoundError, match="steps.jsonl: no such log. Train into"):
        read_log(tmp_path, STEPS)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_trains_like_the_cpu(precision, plate, tmp_path):
    # A GPU draws other random numbers for stochastic depth.
    given = options(plate, drop_path_rate=0.0, epochs=1, warmup_epochs=0)
    train(str(tmp_path / "cpu"), **given)
    train(str(tmp_path / "gpu"), **given | {"device": "cuda", "precision": precision})
    # With fp16 the first steps look for the scale of the gradients and are passed over.
    steps = 1 if precision == "fp16" else 5
    one, other = (losses(tmp_path / name)[:steps] for name in ("gpu", "cpu"))
    np.testing.assert_allclose(one, other, rtol=0.05)
