"""Profiles as AnnData, the object that scanpy and mantispy work on, and the .h5ad file it lies in.

The layout is the one that mantispy's schema 2.0 asks for; benchmarks/mantispy_schema.py checks it.
"""

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from . import arguments, paths, tables
from .controls import CONTROL_TYPES
from .progress import one_line, say

SCHEMA = "2.0"
"""Version of mantispy's schema that objects are laid out by."""

SPELT = (
    "Source", "Batch", "Plate", "Well", "Site", "Perturbation", "Compound", "Concentration",
    "ConcentrationUnit", "MOA", "Gene", "CellLine", "CellCount", "Control_Type", "Construct",
    "Allele", "Barcode", "sgRNA", "JCP2022", "InChIKey", "PlateType",
)  # fmt: skip
"""Columns that the schema has names for: ours of those names are spelt as it spells them."""

PERTURBATION = ("perturbation", "perturbation_id", "treatment", "compound")
"""Columns that may say what was done to a well, the first that a table has."""

_IMAGE, _ROW = "Metadata_image", "Metadata_row"
_CONTROLS, _TREATMENT, _EMPTY = "Metadata_Control_Type", "treatment", "empty"
_DONE = (*PERTURBATION, "gene", "jcp2022", "sgrna", "construct", "allele")
_TEXTS = ("object", "feature_group", "feature", "channel", "radial_bin", "params", "feature_kind")
_NUMBERS = ("scale", "angle", "gray_levels")
_LEVEL = re.compile(r"_(well|site)_features\.parquet$")


def check_installed():
    """Stop where anndata is not installed.

    Raises
    ------
    ImportError
        Names the extra.
    """
    if find_spec("anndata") is None:
        raise ImportError("AnnData needs the package anndata: pip install 'unidino[anndata]'.")


def to_anndata(profiles, layers=None, by=None, provenance=None):
    """Profiles as AnnData.

    Parameters
    ----------
    profiles : pd.DataFrame, str or Path
        One row a profile: metadata and features; a frame, or a table that `tables.read_table`
        reads.
    layers : dict, optional
        {name: the same profiles otherwise processed}, frames or tables: they have the rows and the
        features of `profiles`, and may have more of both.
    by : str or list of str, optional
        Columns that name a row, bare or with ``Metadata_``; by default source, batch, plate and
        well, and the site where wells have several rows, as far as the table has them; an image
        where it has none of them, and the row of the dataset's table where these do not tell rows
        apart. Rows that nothing tells apart are numbered, and that is said.
    provenance : dict, optional
        As JSON takes it; that of the table by default.

    Returns
    -------
    anndata.AnnData
        ``X``: the features, float32. ``obs``: the other columns, all ``Metadata_…``, those of
        `SPELT` in that spelling; text as categories, numbers as numbers; columns of nothing but
        missing values are left out, a / in a name is a _. ``Metadata_Control_Type`` is
        "treatment" where our tables have nothing, and "empty" where no column says what was done
        to such a row either, though others have it; ``Metadata_Control`` says whether it is other
        than "treatment"; words that are not ours stay in ``Metadata_control_type``.
        ``obs_names``: the values of `by` with | between. ``var``: the columns of the schema;
        ``channel`` where one channel alone is described, ``feature_kind`` "embedding", or
        "measurement" for CellProfiler's. ``uns``: under "unidino" the provenance as JSON, see
        `read_provenance`, and under "mantispy" what a row is.

    Raises
    ------
    ImportError
        anndata is not installed.
    FileNotFoundError, TypeError, ValueError
        No such table; no rows or no features; features that are no numbers; columns of one name;
        rows of one name, where columns were given, or without one; a layer that lacks rows or
        features.
    """
    check_installed()
    import anndata

    frame, stored = _table(profiles, "profiles")
    provenance = stored if provenance is None else provenance
    features = tables.feature_columns(frame)
    names, columns, apart = _names(frame, by)
    made = anndata.AnnData(
        X=_values(frame, features, "profiles"),
        obs=_obs(frame.drop(columns=features), names),
        var=_var(features, provenance),
    )
    for name, table in (layers or {}).items():
        made.layers[name] = _layer(table, name, names, columns if apart else None, features)
    made.uns["unidino"] = {"provenance": json.dumps(provenance, sort_keys=True)}
    spelt = _spelling(frame.columns)
    columns = [_written(spelt.get(column, column)) for column in columns]
    if columns:
        made.uns["mantispy"] = _described(made.obs, columns)
    return made


def of_extraction(path, profiles=None, by=None, provenance=None):
    """A table that an extraction wrote, as AnnData, with those beside it as layers.

    Parameters
    ----------
    path : str or Path
        Of the profiles, Parquet, as it was written.
    profiles : pd.DataFrame, optional
        What the file holds, where that is at hand.
    by : str or list of str, optional
        As of `to_anndata`.
    provenance : dict, optional
        That of the file by default.

    Returns
    -------
    anndata.AnnData
        See `to_anndata`; ``layers``: "raw", before normalisation, and "normalised", before a
        correction. What normalisation dropped is in no layer, but in the table of the raw profiles
        and, by name, in the provenance. Of a table that lies alone there are no layers, and that is
        said.

    Raises
    ------
    ImportError, FileNotFoundError, TypeError, ValueError
        As `to_anndata`.
    """
    check_installed()
    if profiles is None:
        profiles = tables.read_table(path)
    if provenance is None:
        provenance = profiles.attrs.get("provenance", {})
    provenance = json.loads(json.dumps(provenance))  # as it lies in the files
    return to_anndata(profiles, _beside(Path(path), provenance), by, provenance)


def write(adata, path):
    """Write AnnData as .h5ad, under a temporary name that is renamed in the end.

    Parameters
    ----------
    adata : anndata.AnnData
    path : str or Path
        Ends in ``.h5ad``.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        Another ending.
    OSError
        The file cannot be written, see `tables.atomic_path`.
    """
    path = _h5ad(path)
    with tables.atomic_path(path) as temporary:
        adata.write_h5ad(temporary, compression="gzip")
    return path


def is_copy(h5ad, path):
    """Whether a .h5ad file holds what `of_extraction` makes of a table, but for the provenance.

    Parameters
    ----------
    h5ad : str or Path
    path : str or Path
        Of the profiles, as of `of_extraction`.

    Returns
    -------
    bool
        False where either is not to be read, such as without anndata.
    """
    try:
        check_installed()
        import anndata

        read, made = anndata.read_h5ad(h5ad), of_extraction(path)
    except (ImportError, OSError, KeyError, TypeError, ValueError):
        return False
    described = [
        (
            list(adata.obs_names),
            list(adata.var_names),
            tables.frame_digest(adata.obs),
            tables.frame_digest(adata.var),
            set(adata.layers),
        )
        for adata in (read, made)
    ]
    return described[0] == described[1] and all(
        np.array_equal(matrix, of_made, equal_nan=True)
        for matrix, of_made in [
            (read.X, made.X),
            *((read.layers[name], made.layers[name]) for name in made.layers),
        ]
    )


def read_provenance(adata):
    """The provenance in AnnData that `to_anndata` made; an empty dict in any other."""
    return json.loads(adata.uns.get("unidino", {}).get("provenance", "{}"))


def convert(table: str, h5ad: str, /, by: str | list | None = None):
    """A table of profiles as AnnData, for scanpy, mantispy and what else reads .h5ad.

    Parameters
    ----------
    table : str
        A .parquet or .csv file of profiles, or of sites; beside an extraction's table its others
        are found, and become the layers raw and normalised.
    h5ad : str
        The .h5ad file to write.
    by : str or list
        Columns that name a row, separated by commas, such as Metadata_compound; by default source,
        batch, plate and well, and the site where wells have several rows.

    Returns
    -------
    Path

    Raises
    ------
    ImportError, FileNotFoundError, TypeError, ValueError, OSError
        As `of_extraction` and `write`.
    """
    arguments.check_types({"table": table, "h5ad": h5ad, "by": by}, convert)
    _h5ad(h5ad)
    if isinstance(by, str):
        by = [name.strip() for name in by.split(",")]
    return write(of_extraction(table, by=by), h5ad)


def _h5ad(path):
    path = Path(path)
    if path.suffix != ".h5ad":
        raise ValueError(f"{path} does not end in .h5ad; AnnData is written as .h5ad.")
    return path


def _table(given, what):
    """A frame whose columns have their names in tables, and its provenance."""
    frame = given if isinstance(given, pd.DataFrame) else tables.read_table(given)
    provenance = frame.attrs.get("provenance", {})
    where = what if frame is given else str(given)
    frame = tables.keys_as_text(frame)
    bare = [name for name in tables.metadata_columns(frame) if not isinstance(name, str)]
    frame = frame.rename(columns=dict(zip(bare, map(str, bare), strict=True)))
    frame = frame.rename(
        columns={n: tables.metadata_name(n) for n in tables.metadata_columns(frame)}
    )
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise ValueError(
            f"{where}: two columns are called {twice[0]}, with Metadata_ where a name had none; "
            "rename or drop one."
        )
    if not len(frame):
        raise ValueError(f"{where}: the table has no rows.")
    if not tables.feature_columns(frame):
        raise ValueError(
            f"{where}: the table has no features: no column is named emb…, Cells_, Cytoplasm_ or "
            "Nuclei_."
        )
    return frame, provenance


def _names(frame, by):
    """The name of each row, the columns that it is made of, and whether these tell rows apart."""
    if by is not None:
        listed = [by] if isinstance(by, str) else list(by)
        columns = [tables.find_column(frame, name) for name in listed]
    else:
        columns = _key_of(frame)
    if not columns:
        return _plain(map(str, range(len(frame)))), [], False
    texts = pd.concat([tables.text(frame[column]) for column in columns], axis=1)
    for column in columns:
        if (missing := texts[column].isna()).any():
            raise ValueError(
                f"{column} is empty in {int(missing.sum())} rows, the first is row "
                f"{int(missing.to_numpy().argmax()) + 1}; it names the rows, so each needs one. "
                "Fill it, or name rows by other columns (by)."
            )
    names = _plain("|".join(parts) for parts in texts.itertuples(index=False))
    again = names.duplicated(keep=False)
    if not again.any():
        return names, columns, True
    told = ", ".join(columns)
    first, second = np.flatnonzero(names == names[int(again.argmax())])[:2]
    same = f"rows {first + 1} and {second + 1} are both called {names[first]!r} ({told})"
    if by is not None:
        raise ValueError(
            f"{same}, and {int(again.sum())} rows in all share their name with others. Drop those "
            "that stand twice, or name rows by more columns (by)."
        )
    say(f"{same}, so each row has a number behind its name. Columns that tell them apart go as by")
    numbers = pd.Series(names).groupby(names).cumcount() + 1
    numbered = (f"{name}|{number}" for name, number in zip(names, numbers, strict=True))
    return _plain(numbered), columns, False


def _key_of(frame):
    """The columns that name a row by themselves; those that do so in part where none do."""
    keys = tables.key_columns(frame)
    tried = [
        tables.key_columns(frame, tables.WELL_KEY),
        keys,
        [name for name in [_IMAGE] if name in frame.columns and not keys],
        [*keys, *(name for name in [_ROW] if name in frame.columns)],
    ]
    for columns in tried:
        if columns and not frame.duplicated(columns).any() and frame[columns].notna().all(None):
            return columns
    return keys


def _values(frame, features, where):
    """The features (N, features), float32, not shared with the frame."""
    of = pd.api.types
    for name in features:
        if not of.is_numeric_dtype(frame[name]) or of.is_bool_dtype(frame[name]):
            raise TypeError(
                f"{where}: the feature {name} holds {frame[name].dtype}, not numbers; make it "
                "numeric, or drop it."
            )
    return frame[features].to_numpy(np.float32, copy=True, na_value=np.nan)


def _layer(table, what, names, columns, features):
    """The features of another table, in the rows and columns of the profiles.

    Where no columns tell rows apart, both have the same rows in the same order.
    """
    frame, _ = _table(table, f"layer {what}")
    lacking = [name for name in features if name not in frame.columns]
    if lacking:
        raise ValueError(
            f"layer {what}: it lacks {len(lacking)} of the {len(features)} features, such as "
            f"{lacking[0]}. Layers have the features of the profiles."
        )
    values = _values(frame, features, f"layer {what}")
    if columns is None:
        if len(frame) != len(names):
            raise ValueError(
                f"layer {what}: it has {len(frame)} rows, the profiles have {len(names)}, and no "
                "column tells which are which. Name rows by columns (by)."
            )
        return values
    own, _, _ = _names(frame, columns)
    rows = own.get_indexer(names)
    if (rows < 0).any():
        raise ValueError(
            f"layer {what}: it lacks {int((rows < 0).sum())} of the {len(names)} profiles, such as "
            f"{names[int((rows < 0).argmax())]}. Layers have the rows of the profiles."
        )
    return values[rows]


def _beside(path, provenance):
    """{layer: the table beside one of an extraction}."""
    found = _LEVEL.search(path.name)
    if found is None or "norm_method" not in provenance:
        return {}
    folder, valset, level = path.parent, provenance["valset"], found[1]
    method, l2norm = provenance["norm_method"], provenance["l2norm"]
    wanted = {
        "raw": paths.profiles_table(folder, valset, "no_post_proc", level),
        "normalised": paths.profiles_table(folder, valset, method, level, l2norm),
    }
    if wanted["normalised"] == wanted["raw"]:
        del wanted["normalised"]
    there = {}
    for name, file in wanted.items():
        if not file.is_file():
            say(f"the layer {name} is left out: there is no {file.name} beside {path.name}")
            continue
        other = tables.read_provenance(file)
        if any(other.get(same) != provenance.get(same) for same in ("settings", "images_sha256")):
            say(f"the layer {name} is left out: {file.name} was made with other settings or images")
            continue
        there[name] = file
    return there


def _spelling(columns):
    """{our name: the schema's}, of the columns that it has a name for; not of two that differ by
    case alone."""
    wanted = {f"metadata_{name.lower()}": f"Metadata_{name}" for name in SPELT}
    same = {}
    for column in columns:
        same.setdefault(str(column).lower(), []).append(column)
    return {same[low][0]: name for low, name in wanted.items() if len(same.get(low, ())) == 1}


def _obs(frame, names):
    """The columns that are no features, as h5ad keeps them."""
    frame = frame.rename(columns=_spelling(frame.columns))
    made = {}
    for column in frame.columns:
        values = frame[column].reset_index(drop=True)
        if column == _CONTROLS and _are_controls(values):
            values = values.astype(object).where(values.notna(), _unlabelled(frame))
            made["Metadata_Control"] = (values != _TREATMENT).to_numpy()
        elif column in (_CONTROLS, "Metadata_Control"):  # what the schema means by it is another
            column = column.lower().capitalize()
        if not values.isna().all():
            made[_key(column, made)] = _column(values)
    return pd.DataFrame(made, index=range(len(frame))).set_axis(names)


def _unlabelled(frame):
    """What each row is that is no known control; the schema lets none be missing."""
    lower = {str(name).lower(): name for name in frame.columns}
    names = [lower[f"metadata_{name}"] for name in _DONE if f"metadata_{name}" in lower]
    said = [_is_said(frame[name]) for name in names]
    done = np.any(said, axis=0) if np.any(said) else np.ones(len(frame), bool)
    return pd.Series(np.where(done, _TREATMENT, _EMPTY), dtype=object)


def _is_said(values):
    """Where a cell is neither missing nor blank."""
    return (values.notna() & (values.astype(str).str.strip() != "")).to_numpy(bool)


def _are_controls(values):
    return set(values.dropna().unique()) <= {*CONTROL_TYPES, _TREATMENT}


def _written(column):
    """A column's name as HDF5 takes it: a / would be a folder."""
    return column.replace("/", "_")


def _key(column, taken):
    """A name that no other column has."""
    name = _written(column)
    while name in taken:
        name += "_"
    return name


def _column(values):
    """A column of obs: numbers and booleans in a type that h5ad has, all else as text."""
    of = pd.api.types
    if isinstance(values.dtype, pd.CategoricalDtype):
        if of.infer_dtype(values.cat.categories) == "string":
            values = values.cat.remove_unused_categories()
            return values.cat.rename_categories(_plain(values.cat.categories))
        values = values.astype(object)
    kind = of.infer_dtype(values, skipna=True)
    missing = values.isna().any()
    if kind == "boolean":
        return values.astype("boolean" if missing else bool)
    if kind == "integer":
        return values.astype("Int64" if missing else np.int64)
    if kind in ("floating", "mixed-integer-float", "decimal"):
        return pd.Series(values.to_numpy(float, na_value=np.nan))
    text = values.map(
        lambda value: str(value).replace("\0", "\N{REPLACEMENT CHARACTER}"), na_action="ignore"
    )
    return pd.Series(pd.Categorical(text, _plain(sorted(text.dropna().unique()))))


def _plain(texts):
    """Names as an index that every version of anndata writes: that of pandas 3 only newer ones."""
    return pd.Index(list(texts), dtype=object)


def _var(features, provenance):
    """What each feature describes, in the columns of the schema."""
    config = provenance.get("settings", {}).get("model_config", {})
    together = config.get("in_chans", 1) > 1
    embedded = [name.startswith("emb") for name in features]
    channels = []
    for name in features:
        channel = tables.feature_channel(name)
        named = name.startswith(f"emb_{channel}_") and not together
        channels.append(channel if named else None)
    known = {
        "object": [
            None if emb else tables.feature_channel(name)
            for emb, name in zip(embedded, features, strict=True)
        ],
        "channel": channels,
        "feature_kind": ["embedding" if emb else "measurement" for emb in embedded],
    }
    nothing = [None] * len(features)
    made = {name: pd.Categorical(known.get(name, nothing)) for name in _TEXTS}
    made |= dict.fromkeys(_NUMBERS, np.nan)
    return pd.DataFrame(made | {"is_feature": True}, index=_plain(features))


def _described(obs, columns):
    """What the schema asks to know of an object: its version, what a row is, what was done."""
    whole = {"Metadata_Plate", "Metadata_Well"} <= set(columns)
    made = {
        "schema_version": SCHEMA,
        "resolution": "well" if whole else "aggregate",
        "grouped_by": columns,
    }
    lower = {name.lower(): name for name in obs.columns}
    done = next((lower[f"metadata_{n}"] for n in PERTURBATION if f"metadata_{n}" in lower), None)
    if done is not None:
        made["perturbation"] = {"column": done}
        if "Metadata_Control" in obs:
            made["perturbation"]["control_column"] = _CONTROLS
    return made


def main(argv=None, program="python -m unidino.anndata_tables"):
    """The command line of `convert`."""
    given = vars(arguments.parser(convert, program).parse_args(argv))
    try:
        print(convert(given.pop("table"), given.pop("h5ad"), **given))
    except (ValueError, TypeError, OSError, ImportError) as error:
        sys.exit(f"error: {one_line(error)}")


if __name__ == "__main__":
    main()
