"""Short series of the damaged files that ``benchmarks/fuzz_*.py`` make by the thousand."""

import collections
import logging
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from benchmarks import fuzz_checkpoints, fuzz_images, fuzz_tables, fuzzing
from unidino import images


@pytest.mark.filterwarnings("ignore")
def test_damaged_images_are_read_or_refused_by_name(tmp_path):
    logging.disable(logging.CRITICAL)  # the decoders' own remarks
    try:
        found = collections.Counter(e for _, _, e in fuzz_images.cases(tmp_path, 160, seed=1))
    finally:
        logging.disable(logging.NOTSET)
    assert set(found) == {"read", "refused"}, found


@pytest.mark.parametrize("seed", range(3))
def test_sizes_that_a_file_cannot_hold_are_refused_before_they_are_filled(seed, tmp_path):
    rng = np.random.default_rng(seed)
    before = fuzzing.most_memory()
    for source in fuzz_images.originals(tmp_path, rng):
        for width in (20_000, 60_000):
            path = tmp_path / f"says_{source.name}"
            said = fuzz_images.declared(source.read_bytes(), source.suffix, rng, (60_000, width))
            path.write_bytes(said)
            tracemalloc.start()
            with pytest.raises(ValueError, match=f"^{path}: ") as raised:
                images.read_image(path, "first")
            assert tracemalloc.get_traced_memory()[1] < 2**21, path.name
            tracemalloc.stop()
            if width == 60_000 and "limit" in str(raised.value):
                assert "UNIDINO_MAX_PIXELS" in str(raised.value)
    # The decoders' own memory, which Python does not see: at most 64 MiB.
    assert fuzzing.most_memory() < before + fuzz_images.MOST


@pytest.mark.parametrize("name", ["a.jpg", "b.jpg", "a.png", "rgb.png"])
def test_empty_fields_are_no_file_that_ends_early(name, tmp_path):
    """The densest there are: one grey, optimised."""
    blank = Image.new("RGB" if name == "rgb.png" else "L", (1600, 1200))
    options = {"optimize": True, "progressive": name == "b.jpg", "compress_level": 9}
    blank.save(tmp_path / name, **options)
    assert images.read_image(tmp_path / name).shape[1:] == (1200, 1600)


@pytest.mark.filterwarnings("ignore")
def test_damaged_tables_and_plate_maps_open_or_are_refused_by_name(tmp_path, capsys):
    found = collections.defaultdict(set)
    for _, kind, became in fuzz_tables.cases(tmp_path, 60, seed=1):
        found[kind.split()[0]].add(became)
    assert found["whole"] == {"same"} and found["damaged"] <= {"named", "opened"}, found


@pytest.mark.filterwarnings("ignore")
def test_changed_weights_are_loaded_or_refused_by_name(tmp_path, capsys):
    found = collections.Counter(e for _, _, e in fuzz_checkpoints.cases(tmp_path, 30, seed=1))
    assert set(found) == {"loaded", "refused"}, found


def test_a_case_that_hangs_is_stopped():
    with pytest.raises(fuzzing.Hung, match="more than 0.05 s"), fuzzing.within(0.05):
        try:
            time.sleep(60)
        except Exception:
            time.sleep(60)
    with fuzzing.within(60):
        pass
