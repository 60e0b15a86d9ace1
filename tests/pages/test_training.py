"""The training notebook's command, its processes, and what is read back of a run."""

import inspect
import json
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

import unidino
from unidino import arguments, paths
from unidino.pages import training
from unidino.train import train
from unidino.train.processes import Processes
from unidino.train.run import Trainer
from unidino.train.training import main

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "train.ipynb"
DEFAULTS = {
    name: parameter.default for name, parameter in inspect.signature(train).parameters.items()
} | {"output_dir": None}
SMALL = {
    "arch": "vit_tiny", "embed_dim": 24, "size": 32, "local_size": 16, "local_crops_number": 2,
    "out_dim": 64, "epochs": 2, "epoch_length": 16, "batch_size_per_gpu": 8, "warmup_epochs": 1,
    "warmup_teacher_temp_epochs": 1, "freeze_last_layer": 1, "num_workers": 0, "device": "cpu",
    "intensity_scaling": "plate", "monitor_label": "treatment",
}  # fmt: skip


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """A CSV of six sites of two channels, a blob in each image."""
    folder = tmp_path_factory.mktemp("plate")
    y, x = np.mgrid[:48, :56]
    rows = []
    for i in range(6):
        rng = np.random.default_rng(i)
        row = {"plate": "p", "well": f"A{i + 1:02d}", "treatment": f"t{i // 2 % 2}"}
        row["control_type"] = "negcon" if i < 4 else None
        for c in range(2):
            row[f"stain{c}"] = f"{i}_{c}.tif"
            cy, cx, width = rng.uniform(15, 35), rng.uniform(15, 40), rng.uniform(40, 120)
            image = rng.integers(100, 400, (48, 56))
            image += (6000 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / width)).astype(int)
            tifffile.imwrite(folder / row[f"stain{c}"], image.astype(np.uint16))
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "plate.csv", index=False)
    return str(folder / "plate.csv")


def options(plate, **changes):
    return DEFAULTS | SMALL | {"datasets": [plate], "monitor": plate} | changes


@pytest.fixture(scope="module")
def run(plate, tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("run")
    made = training.Training.of(processes=1, **options(plate, output_dir=str(folder)))
    made.run()
    return made


def declared():
    (cell,) = [
        c for c in nbformat.read(NOTEBOOK, 4).cells if "parameters" in c.metadata.get("tags", [])
    ]
    names = {}
    exec(cell.source, names)
    return {name: value for name, value in names.items() if name != "__builtins__"}


def test_the_notebook_takes_every_option():
    assert declared().keys() == DEFAULTS.keys() | {"processes"}
    arguments.check_types(declared(), training.parameters)


def test_command_holds_what_differs_and_reads_back():
    given = DEFAULTS | {
        "output_dir": "/tmp/a b",
        "datasets": ["HPA@/data", "my plate.csv"],
        "lr": 1e-5,
        "use_example_data": True,
        "norm_last_layer": False,
        "include_hpa": False,
        "zoom_max": 2,
    }
    words = training.command(given, 1)
    assert words[:3] == [sys.executable, "-m", "unidino.train"]
    assert sum(word.startswith("--") for word in words) == 7
    read = vars(arguments.parser(train, "unidino.train").parse_args(words[3:]))
    assert read == given
    assert training.command(DEFAULTS | {"output_dir": "x"}, 1)[3:] == ["--output_dir", "x"]
    # An option set to its default in place of another's is left out, whatever the notebook's.
    everything = declared() | {"output_dir": "x"}
    everything.pop("processes")
    read = vars(arguments.parser(train, "t").parse_args(training.command(everything, 1)[3:]))
    assert read == everything


def test_several_processes_are_started_by_torchrun():
    words = training.command(DEFAULTS | {"output_dir": "x"}, 4)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "4"]
    assert words[1:8] == [*launcher, "-m", "unidino.train"]
    assert training.shown(words).startswith(
        "torchrun --standalone --nproc_per_node 4 -m unidino.train \\\n  --output_dir x"
    )


def test_process_count(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert training.process_count(0) == 3
    assert training.process_count(2) == 2
    assert training.process_count(0, "cpu") == 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert training.process_count(0) == 1
    with pytest.raises(ValueError, match="processes is -1; expected 0"):
        training.process_count(-1)


def test_shown_command_has_no_folder_of_the_machine():
    given = {"output_dir": "/some/where/run", "datasets": ["HPA@/data/x", "/a/b.csv", "c/d.csv"]}
    text = training.shown(training.command(DEFAULTS | given, 1))
    assert text.startswith("python -m unidino.train \\\n  --output_dir …/run \\\n")
    assert not re.search(r"/(some|data|a)/", text)
    assert "HPA@…/x" in text and "…/b.csv" in text and "c/d.csv" in text


def test_options_name_the_folder(plate, tmp_path, monkeypatch):
    monkeypatch.setenv("UNIDINO_OUTDIR", str(tmp_path))

    def folder(processes=1, **changes):
        return training.Training.of(processes, **options(plate, **changes)).folder

    first = folder()
    assert first.parent == paths.outputs_root() / "training"
    assert first.name.startswith("vit_tiny-")
    assert folder(num_workers=3, checkpoint_minutes=1.0) == first
    assert folder(processes=2, batch_size_per_gpu=4) == first
    others = {folder(seed=1), folder(lr=0.1), folder(processes=2)}
    assert len(others) == 3 and first not in others
    assert folder(output_dir=str(tmp_path / "x")) == tmp_path / "x"


def test_wrong_options_stop_before_a_process_starts(plate, tmp_path):
    with pytest.raises(ValueError, match="optimizer 'adam' is not one of"):
        training.Training.of(1, **options(plate, optimizer="adam"))
    with pytest.raises(ValueError, match="needs monitor_label"):
        training.Training.of(1, **options(plate, monitor_label=None))


def test_output_goes_to_the_log_and_not_to_the_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("unidino.progress._terminal", lambda: open(tmp_path / "terminal", "a"))
    code = "import sys; print('one'); print('\\rtwo\\rthree', file=sys.stderr)"
    training.run_command([sys.executable, "-c", code], tmp_path)
    for name in (training.LOG, "terminal"):
        lines = (tmp_path / name).read_text().splitlines()
        assert sorted(line.split()[-1] for line in lines) == ["one", "three", "two"]
    assert capsys.readouterr() == ("", "")


def test_failure_shows_the_last_lines(tmp_path):
    code = "for i in range(50): print('line', i)\nraise SystemExit('error: no such set')"
    with pytest.raises(RuntimeError, match="status 1.*launch.log ends with:\n") as failed:
        training.run_command([sys.executable, "-c", code], tmp_path)
    lines = str(failed.value).splitlines()
    assert lines[-1] == "error: no such set" and "line 49" in lines and "line 10" not in lines
    with pytest.raises(RuntimeError, match="stopped; run it again to go on"):
        training.run_command([sys.executable, "-c", "raise SystemExit(143)"], tmp_path)


def test_an_interrupted_cell_lets_training_write(tmp_path, monkeypatch):
    code = (
        "import signal, sys, time\n"
        "assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN\n"
        f"def stop(*_): open({str(tmp_path / 'saved')!r}, 'w').close(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )

    def interrupt(line):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "say", interrupt)
    with pytest.raises(KeyboardInterrupt):
        training.run_command([sys.executable, "-c", code], tmp_path)
    assert (tmp_path / "saved").is_file()


def test_what_is_read_back(run, monkeypatch):
    assert len(run.steps) == 4 and run.steps["epochs_done"].tolist() == [0.5, 1, 1.5, 2]
    table = training.facts(run)["value"]
    assert table["images to draw from"] == 12
    assert table["steps"] == 4 and table["images of a step"] == 8
    assert table["numbers in an embedding"] == 24
    mixture = training.mixture(run)
    assert mixture["share of draws"].tolist() == [1] and mixture["images"].tolist() == [12]
    assert "trained for 2 epochs" in training.headline(run)
    assert "**which is trained on, too**" in training.headline(run)
    assert "Real images" in training.headline(run)
    written = training.file_list(run)
    for name in ("teacher.safetensors", "checkpoint.pth", "checkpoint0002.pth", "launch.log"):
        assert re.search(rf"^{name} ", written, re.MULTILINE), name
    assert unidino.load_model(run.weights).embedding_dim == 24
    size = (run.folder / "steps.jsonl").stat().st_size
    # The same command once more finds nothing to do.
    started = []
    monkeypatch.setattr(training, "run_command", lambda *given: started.append(given))
    run.run()
    assert started == [(run.command, run.folder)]
    main(run.command[3:])
    assert (run.folder / "steps.jsonl").stat().st_size == size


def test_start_is_that_of_the_run_and_measured_once(run, monkeypatch):
    twin = Trainer.__new__(Trainer)
    images = type("Images", (), {"published_length": 16})()
    views = type("Views", (), {"size": 32, "local_size": 16, "local_crops_number": 2})()
    config = training.model_config(run.options)
    twin.__init__(run.options, config, views, images, Processes("cpu"))
    expected = twin.teacher.backbone.state_dict()
    made = training.start_model(run.options).state_dict()
    assert made.keys() == expected.keys()
    assert all(torch.equal(made[name], expected[name]) for name in made)

    start = training.start_accuracy(run)
    assert 0 <= start <= 1
    assert json.loads((run.folder / training.START).read_text())["accuracy"] == start
    monkeypatch.setattr(training.Monitor, "accuracy", None)
    assert training.start_accuracy(run) == start
    table = training.epoch_table(run, start)
    assert table["epoch"].tolist() == [0, 1, 2]
    assert table["trained_accuracy"].iloc[0] == start
    assert all(name.startswith("trained_") for name in table.columns[1:])
    assert "was " in training.accuracy_change(run, start)
    assert "No set was watched" in training.accuracy_change(run, None)


def test_warnings_are_seen(run):
    seen = training.Training(run.given, run.options, 1, run.opened)
    seen.__dict__["epochs"] = pd.DataFrame({"epoch": [1, 2], "warnings": [[], ["all alike", "b"]]})
    assert training.warning_lines(seen).startswith("> **Warning, epoch 2:** all alike\n>\n> **W")
    seen.__dict__["epochs"] = pd.DataFrame({"epoch": [1], "warnings": [[]]})
    assert training.warning_lines(seen) == "No epoch showed a sign of collapse."


@pytest.mark.parametrize("zoom", [1.0, 1.5])
def test_boxes_are_where_the_views_lie(run, zoom):
    plain = {"zoom_min": zoom, "zoom_max": zoom, "shift": 0.0, "gamma_min": 1.0, "gamma_max": 1.0}
    shown = training.Training(run.given, run.options | plain, 1, run.opened)
    (row,) = training.drawn_views(shown)["rows"]
    assert len(row["views"]) == len(row["boxes"]) == 4
    for view, (top, left, side) in zip(row["views"], row["boxes"], strict=True):
        assert side == pytest.approx(view.shape[-1] / zoom)
        if zoom == 1:
            y, x, n = int(top), int(left), view.shape[-1]
            whole = np.pad(row["image"], 40, mode="reflect")
            cut = whole[y + 40 : y + 40 + n, x + 40 : x + 40 + n]
            turned = [cut, cut[::-1], cut[:, ::-1], cut[::-1, ::-1]]
            assert any(np.allclose(view, one, atol=1e-5) for one in turned)


def test_figures(run):
    steps, epochs = run.steps, run.epochs
    loss = training.plot_loss(steps, epochs, 64, "h").axes[0]
    assert any(np.allclose(line.get_ydata(), np.log(64)) for line in loss.lines)
    entropy = training.plot_entropy(steps, epochs, 64, "h").axes[0]
    ends = [line.get_ydata()[0] for line in entropy.lines[-2:]]
    assert np.allclose(sorted(ends), [0, np.log(64)])
    panels = training.plot_schedules(steps, "h").axes
    assert [panel.get_title() for panel in panels[:2]] == ["learning rate", "weight decay"]
    panels = training.plot_embeddings(epochs, "accuracy", 0.25, "h").axes
    assert panels[1].lines[-1].get_xydata()[0].tolist() == [0, 0.25]
    assert len(training.plot_embeddings(epochs, None, None, "h").axes) == 1
    shown = training.drawn_views(run)
    assert len(training.plot_views(**shown, heading="h").axes) == 5
