"""An extraction in the tasks of a Ray cluster: the same bytes, lost workers, failures named."""

import contextlib
import functools
import os
import secrets
import signal
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile

import unidino
from tests.test_shards import bytes_of, extract, screen, whole  # noqa: F401
from unidino import cluster, inference, shards


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """A cluster of this machine with two workers, that every test of the module uses."""
    ray = pytest.importorskip("ray")
    quick = tmp_path_factory.mktemp("quick")
    # Most of the time in which a process of Ray starts goes into this module, that jsonschema takes
    # where it finds it; and Ray gives up on a busy machine whose processes take 15 s.
    (quick / "rfc3987_syntax.py").write_text("raise ImportError")
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("PYTHONPATH", str(quick), prepend=os.pathsep)
        # Its own token, so that none is left in the home of whoever runs this.
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setattr(ray, "init", functools.partial(ray.init, num_cpus=2))
        try:
            stack.enter_context(cluster.connected())
        except RuntimeError as error:
            pytest.skip(str(error))
        yield


@pytest.fixture
def without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)


# What needs no cluster.


def test_without_ray_the_extra_is_named(without_ray, tmp_path, capsys):
    with pytest.raises(ImportError, match=r"needs the package ray: pip install 'unidino\[scale\]'"):
        unidino.extract("nowhere.csv", engine="ray", outdir=str(tmp_path))
    with pytest.raises(SystemExit, match=r"^error: engine 'ray' needs the package ray: "):
        inference.main(["--valset", "nowhere.csv", "--engine", "ray"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "rey"}, "engine 'rey' is not one of local, ray. Did you mean 'ray'"),
        ({"ray_address": "auto"}, "ray_address is 'auto' and goes with engine 'ray'"),
        ({"engine": "ray", "shard": "1/2"}, "engine 'ray' goes without shard: "),
        ({"engine": "ray", "gpus": 2}, "engine 'ray' goes without gpus: "),
        ({"engine": "ray", "device": "cuda:1"}, "device is 'cuda:1'; .* it is cpu or cuda"),
    ],
)
def test_what_goes_against_each_other(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        unidino.extract("nowhere.csv", outdir=str(tmp_path), **options)


@pytest.mark.parametrize(
    ("device", "resources", "takes", "count"),
    [
        (None, {"CPU": 6.0}, {"num_cpus": 1, "num_gpus": 0}, 6),
        (None, {"CPU": 6.0, "GPU": 2.0}, {"num_cpus": 1, "num_gpus": 1}, 2),
        ("cpu", {"CPU": 6.0, "GPU": 2.0}, {"num_cpus": 1, "num_gpus": 0}, 6),
        ("cuda", {"CPU": 6.0, "GPU": 2.0}, {"num_cpus": 1, "num_gpus": 1}, 2),
    ],
)
def test_a_worker_has_a_gpu_or_a_processor(device, resources, takes, count):
    assert cluster.workers(device, resources) == (takes, count)


def test_a_cluster_without_what_is_asked_for_is_named():
    with pytest.raises(ValueError, match="device is 'cuda', and the Ray cluster offers no GPU"):
        cluster.workers("cuda", {"CPU": 6.0})
    with pytest.raises(ValueError, match="device is None, and the Ray cluster offers no CPU"):
        cluster.workers(None, {"memory": 1e9})


@pytest.mark.parametrize(
    ("plates", "count", "tasks"), [(1, 2, 4), (3, 4, 8), (4, 4, 4), (30, 4, 30), (999, 4, 32)]
)
def test_a_task_is_a_plate_or_a_part_of_one_or_several(plates, count, tasks):
    sizes = {(str(i),): 10 for i in range(plates)}
    assert cluster.divided(sizes, count) == tasks
    held = [len(shards.stretches(sizes, number, tasks)) for number in range(tasks)]
    assert max(held) <= -(-plates // tasks) + 1 and min(held) >= 1


def test_a_machine_that_does_not_see_the_folder_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*absent on .* same paths"):
        cluster._work(lambda: None, {}, str(tmp_path / "absent"), {})


def refusing(monkeypatch, error):
    """A process that is not connected, and a Ray that refuses; what it was asked for."""
    ray, asked = pytest.importorskip("ray"), {}
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def init(**options):
        asked.update(options)
        raise error

    monkeypatch.setattr(ray, "init", init)
    return asked


def test_an_address_where_no_cluster_is(monkeypatch):
    asked = refusing(monkeypatch, ConnectionError("Could not find any running Ray instance."))
    told = r"ray_address is 'auto', and no Ray cluster answers there \(Could not .*ray start --head"
    with pytest.raises(ConnectionError, match=told), cluster.connected("auto"):
        pass
    assert asked["address"] == "auto"


def test_a_ray_that_does_not_start_is_told(monkeypatch):
    asked = refusing(monkeypatch, Exception("The current node timed out during startup.\nMore."))
    told = "^Ray did not start on this machine: .* during startup. Run this again .*'local'.$"
    with pytest.raises(RuntimeError, match=told), cluster.connected():
        pass
    assert asked["address"] == "local" and not asked["include_dashboard"]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


# On a cluster.


def test_a_cluster_makes_the_same_bytes(screen, whole, workers, tmp_path):  # noqa: F811
    made = extract(screen, tmp_path, engine="ray")
    assert len(made.profiles) == 18
    assert bytes_of(tmp_path) == whole
    log = (made.sites_path.parent / "extract.log").read_text()
    assert "screen: 18 sites in 2 tasks for 2 workers of Ray" in log
    assert "the 9 sites of shard 2/2 are embedded" in log


def test_what_is_finished_needs_no_cluster(screen, whole, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(cluster, "find_spec", lambda name: name)
    monkeypatch.setattr(cluster, "connected", lambda address: pytest.fail("asked for a cluster"))
    extract(screen, tmp_path)
    extract(screen, tmp_path, engine="ray")
    assert bytes_of(tmp_path) == whole


def test_plates_are_divided_where_they_are_few(screen, whole, workers, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(cluster, "divided", lambda sizes, count: 5)
    made = extract(screen, tmp_path, engine="ray")
    log = (made.sites_path.parent / "extract.log").read_text()
    assert "18 sites in 5 tasks" in log and "of shard 5/5 are embedded" in log
    assert bytes_of(tmp_path) == whole


def options_of(screen, outdir, **options):  # noqa: F811
    """Parameters of `extract` as a task gets them."""
    return {
        "valset": str(screen / "screen.csv"), "model": str(screen / "small.safetensors"),
        "outdir": str(outdir), "batch_size": 24, "norm_method": "no_post_proc",
        "max_missing": 0.2, **options,
    }  # fmt: skip


def test_a_worker_that_is_killed_within_a_plate_is_replaced(screen, whole, workers, tmp_path):  # noqa: F811
    marks, outdir = tmp_path / "marks", tmp_path / "out"
    marks.mkdir()

    def killed_once(**options):
        """An extraction whose process is killed behind its fifth site, at the first time."""
        from unidino import inference, sites

        mark = marks / options["shard"].replace("/", "_")
        original, embedded = sites._row, []

        def row(*item):
            embedded.append(item)
            if len(embedded) > 5 and not mark.exists():
                mark.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*item)

        sites._row, sites.PART_SECONDS = row, 0.0
        try:
            inference.extract(**options)
        finally:
            sites._row, sites.PART_SECONDS = original, 30
        with open(mark, "a") as file:
            file.write(f" {os.getpid()} {len(embedded)}")

    cluster.share({("p0",): 9, ("p1",): 9}, set(), killed_once, options_of(screen, outdir))
    for mark in marks.iterdir():
        killed, ended, embedded = map(int, mark.read_text().split())
        # What the killed one had written is not embedded again.
        assert killed != ended and 4 <= embedded <= 5
    assert len(list(marks.iterdir())) == len(list(outdir.rglob("p?.parquet"))) == 2
    extract(screen, outdir)
    assert bytes_of(outdir) == whole


def test_a_plate_that_fails_for_good_is_named_and_the_others_are_there(workers, tmp_path):
    rows = []
    for plate in ("p0", "p1", "p2"):
        for i in range(2):
            image = np.random.default_rng(i).integers(0, 4000, (64, 64)).astype(np.uint16)
            tifffile.imwrite(tmp_path / f"{plate}_{i}.tif", image)
            rows.append({"plate": plate, "well": f"A0{i + 1}", "DNA": f"{plate}_{i}.tif"})
    (tmp_path / "p1_1.tif").write_bytes(b"no image")
    pd.DataFrame(rows).to_csv(tmp_path / "small.csv", index=False)
    options = {"valset": str(tmp_path / "small.csv"), "outdir": str(tmp_path / "out")}
    options |= {"on_error": "raise", "norm_method": "no_post_proc", "engine": "ray"}
    told = r"1 of 4 tasks failed: plate p1: ValueError: .*p1_1.tif.* the same command goes on"
    with pytest.MonkeyPatch.context() as patch:
        # p0 with p2, and p1: the first two tasks; then, as in a large screen, all in one.
        patch.setattr(cluster, "divided", lambda sizes, count: 1)
        with pytest.raises(RuntimeError, match=told):
            unidino.extract(**options)
    names = {file.name for file in (tmp_path / "out").rglob("p?.parquet")}
    assert names == {"p0.parquet", "p2.parquet"}
    tifffile.imwrite(tmp_path / "p1_1.tif", image)
    made = unidino.extract(**options)
    assert len(made.profiles) == 6
    assert "2 sites in 1 tasks" in (made.sites_path.parent / "extract.log").read_text()


def test_the_command_line(screen, whole, workers, tmp_path, capsys):  # noqa: F811
    given = options_of(screen, tmp_path, engine="ray", device="cpu")
    inference.main([word for name, value in given.items() for word in (f"--{name}", str(value))])
    assert capsys.readouterr().out.strip().endswith("_features.parquet")
    assert bytes_of(tmp_path) == whole
