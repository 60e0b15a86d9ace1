"""AnnData of profiles, read and checked by mantispy.

    python benchmarks/mantispy_schema.py FILE.h5ad ...

mantispy needs Python 3.12 and anndata 0.13, where uniDINO's pages are made with 3.11 and 0.12: make
an environment of its own (``python3.12 -m venv V && V/bin/pip install mantispy``). The files come
from ``unidino extract --anndata`` or ``unidino anndata``. Each is read by `mantispy.io.read`, which
refuses what breaks the schema; then its features are asked for by channel, its table is taken out,
and it is written and read again. The exit status is 1 where one of these fails. Written against
mantispy 0.1.0a1, whose schema is 2.0.
"""

import argparse
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import mantispy as mt
import numpy as np


def check(path):
    """Lines that say what mantispy makes of a file.

    Raises
    ------
    ValueError, KeyError, AssertionError
        The file breaks the schema, or comes out otherwise than it went in.
    """
    adata = mt.io.read(path)
    kinds = adata.var["feature_kind"].value_counts().to_dict()
    yield f"{adata.n_obs} rows ({mt.get.resolution(adata)}), {adata.n_vars} features {kinds}"
    yield from (f"warning: {warning}" for warning in mt.io.validate(adata).warnings)
    for channel in adata.var["channel"].dropna().unique():
        names = mt.get.features(adata, channel=channel)
        assert names and all(name.startswith(f"emb_{channel}_") for name in names), channel
        yield f"channel {channel}: {len(names)} features"
    frame = mt.get.to_dataframe(adata)
    first = frame.columns[: frame.shape[1] - adata.n_vars]
    assert all(name.startswith("Metadata_") for name in first), list(first)
    for layer in adata.layers:
        table = mt.get.to_dataframe(adata, layer=layer, metadata=False)
        assert np.array_equal(table.to_numpy(), adata.layers[layer], equal_nan=True), layer
        yield f"layer {layer}"
    if "Metadata_Control_Type" in adata.obs:
        yield f"controls: {adata.obs['Metadata_Control_Type'].value_counts().to_dict()}"
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder, "again.h5ad")
        mt.io.write(adata, again)
        read = mt.io.read(again)
    assert np.array_equal(read.X, adata.X, equal_nan=True) and read.uns["unidino"]
    assert list(read.obs.columns) == list(adata.obs.columns)


def main(arguments=None):
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(prog="mantispy_schema.py", description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    failed = 0
    print(f"mantispy {version('mantispy')}, anndata {version('anndata')}")
    for path in parser.parse_args(arguments).files:
        print(path)
        try:
            for line in check(path):
                print(f"  {line}")
        except (ValueError, KeyError, AssertionError) as error:
            failed = 1
            print(f"  FAILED: {type(error).__name__}: {error}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
