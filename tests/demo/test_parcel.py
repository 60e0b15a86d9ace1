"""The real images packed small: the same pictures, plates and weights on the other side."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from unidino.demo import parcel


@pytest.fixture
def mix(tmp_path):
    """A mix of a plate of 16 bits and one of 8, smooth as images are."""
    y, x = np.mgrid[:60, :80]
    rows = []
    for i in range(5):
        wave = 0.5 + 0.5 * np.sin(x / (9 + i)) * np.cos(y / 7)
        values = (wave * 3000 + 400).astype("u2") if i < 3 else (wave * 250).astype("u1")
        name = f"train_mix/{'deep' if i < 3 else 'flat'}/{i}.tif"
        (tmp_path / "mix" / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(tmp_path / "mix" / name, values)
        rows.append([name, "deep" if i < 3 else "flat", "here", "DNA", 1.0 + i])
    names = ["path", "plate", "source", "stain", "sample_weight"]
    pd.DataFrame(rows, columns=names).to_csv(tmp_path / "mix" / "train_mix.csv", index=False)
    return tmp_path / "mix"


def test_what_is_packed_comes_out(mix, tmp_path):
    files = [str(tmp_path / f"{part}.zip") for part in (1, 2)]
    for part, file in enumerate(files, 1):
        parcel.main(["pack", str(mix), file, "--part", str(part), "--parts", "2"])
    parcel.main(["unpack", *files, str(tmp_path / "out")])
    before = pd.read_csv(mix / "train_mix.csv").set_index("path")
    after = pd.read_csv(tmp_path / "out" / "train_mix.csv").set_index("path")
    pd.testing.assert_frame_equal(after.sort_index(), before.sort_index())
    for name, row in before.iterrows():
        was = tifffile.imread(mix / name).astype(float)
        now = tifffile.imread(tmp_path / "out" / name)
        assert now.dtype == np.uint8 and now.shape == was.shape
        if row["plate"] == "deep":
            plate = [tifffile.imread(file) for file in (mix / "train_mix" / "deep").iterdir()]
            low, high = np.percentile(plate, (0.01, 99.99))
            was = np.clip((was - low) / (high - low), 0, 1) * 255
        assert np.abs(now - was).mean() < 1.5, name


def test_parts_out_of_range(mix, tmp_path):
    with pytest.raises(SystemExit, match="part is 3; expected 1 to 2"):
        parcel.main(["pack", str(mix), str(tmp_path / "x"), "--part", "3", "--parts", "2"])
    with pytest.raises(ValueError, match="parts is 0"):
        parcel.pack(mix, tmp_path / "x", parts=0)
    (tmp_path / "no.zip").write_bytes(b"nothing")
    with pytest.raises(SystemExit, match="error: File is not a zip file"):
        parcel.main(["unpack", str(tmp_path / "no.zip"), str(tmp_path / "out")])
