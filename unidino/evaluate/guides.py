"""Guides of a screen in cell lines, and what other assays read of them: tables read and joined.

Names and layout: the cell-health repository of Way et al. 2021 (doi 10.1091/mbc.E20-12-0784).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from .. import paths, tables
from ..profiles.aggregation import consensus
from . import baselines, feature_sets

LINE, GUIDE, GENE = "cell_line", "reagent_identifier", "gene_symbol"
"""Columns that a profile has, bare or with ``Metadata_``."""

FILES = ("cell_health_median.tsv", "cell_health_median.tsv.gz")
"""Names of the readout table in the dataset's folder; the second is that of its repository."""

_PREFIXES = ("cc_", "vb_")


def read_readouts(path):
    """The readouts of guides in cell lines.

    Parameters
    ----------
    path : str or Path
        Delimited text, compressed or not, in the layout of ``cell_health_median`` of the
        cell-health repository: Metadata_pert_name (the guide), Metadata_cell_line, readouts
        ``cc_…`` and ``vb_…``.

    Returns
    -------
    pd.DataFrame
        cell_line, reagent_identifier, then the readouts; missing where they were not measured.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; a column that is missing, no readout, one that is text, a guide that stands
        twice in a line.
    """
    frame = tables.read_csv(path)
    keys = [tables.find_column(frame, name) for name in ("cell_line", "pert_name")]
    names = [name for name in frame.columns if str(name).startswith(_PREFIXES)]
    if not names:
        raise ValueError(f"{path} has no readout: no column begins with cc_ or vb_.")
    text = [name for name in names if not pd.api.types.is_numeric_dtype(frame[name])]
    if text:
        raise ValueError(f"{path}: the readout {text[0]} is no number; expected one in every row.")
    made = frame[keys + names].set_axis([LINE, GUIDE, *names], axis=1)
    twice = made.duplicated([LINE, GUIDE])
    if twice.any():
        line, guide = made.loc[twice, [LINE, GUIDE]].iloc[0]
        raise ValueError(
            f"{path}: {guide} stands twice in {line}; expected the consensus of its wells."
        )
    return made


def find_readouts(valset, root=None, file=None):
    """The readout table of a dataset, where there is one.

    Parameters
    ----------
    valset : str
        Of a published dataset, in whose folder it is looked for; or a CSV.
    root : str or Path, optional
        Data root.
    file : str or Path, optional
        The table, wherever it lies.

    Returns
    -------
    (pd.DataFrame or None, str)
        As of `read_readouts`; else why there is none, and what to do.
    """
    if file is not None:
        return read_readouts(file), ""
    told = "Give one: -p readouts cell_health_median.tsv.gz"
    if valset not in paths.DATASET_FOLDERS:
        return None, f"No readout table is known of {valset}. {told}."
    folder = paths.dataset_folder(valset, root)
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if found:
        return read_readouts(found[0]), ""
    return None, f"There is no {FILES[0]} in the folder {folder.name}. {told}."


def read(entries, valset, outdir=None):
    """Read sets of features of wells, as `feature_sets.read` does, and of guides.

    Parameters
    ----------
    entries : list of str
        As of `feature_sets.read`; a table ``.tsv`` or ``.tsv.gz`` is one of guides, in the layout
        of ``cell_painting_median`` of the cell-health repository.
    valset, outdir
        As of `feature_sets.read`.

    Returns
    -------
    list of feature_sets.FeatureSet
        Those of wells first. Tables of guides have no column well, and are taken as they are:
        normalised already.

    Raises
    ------
    ValueError
        As `feature_sets.read`; a table of guides without its columns, or with a guide twice.
    """
    given = [str(entry) for entry in entries]
    merged = [entry for entry in given if entry.endswith((".tsv", ".tsv.gz"))]
    wells = [entry for entry in given if entry not in merged]
    made = feature_sets.read(wells, valset, outdir) if wells or not merged else []
    return made + [_table_of_guides(entry) for entry in merged]


def _table_of_guides(entry):
    """A set of features whose rows are guides."""
    named, equals, path = entry.partition("=")
    if not equals:
        path = entry
    frame = tables.read_csv(path)
    columns = {tables.find_column(frame, "pert_name"): f"Metadata_{GUIDE}"}
    frame = frame.rename(columns=columns).copy()  # in one piece
    line = tables.find_column(frame, LINE)
    if not tables.feature_columns(frame):
        raise ValueError(f"{path} has no feature columns; expected Cells_, Cytoplasm_, Nuclei_.")
    twice = frame.duplicated([line, f"Metadata_{GUIDE}"])
    if twice.any():
        first = frame.loc[twice, [line, f"Metadata_{GUIDE}"]].iloc[0]
        raise ValueError(f"{path}: {first.iloc[1]} stands twice in {first.iloc[0]}.")
    if not tables.key_columns(frame, [GENE]):
        # Guides are called by their gene: AKT1-2, KRAS-2A.
        frame[f"Metadata_{GENE}"] = frame[f"Metadata_{GUIDE}"].str.rpartition("-")[0]
        nameless = frame[f"Metadata_{GENE}"] == ""
        frame = frame[~nameless].reset_index(drop=True)
    name = named if equals else Path(path).name.split(".")[0]
    return feature_sets.FeatureSet(name, frame)


def is_of_guides(one):
    """Whether a set that is there has rows of guides, not of wells."""
    return one.profiles is not None and not tables.key_columns(one.profiles, ["well"])


def same_guides(asked):
    """The guides that all sets have, in the order of the first.

    Parameters
    ----------
    asked : dict of str to (pd.DataFrame, pd.DataFrame)
        Feature set -> from `joined`.

    Returns
    -------
    dict of str to (pd.DataFrame, pd.DataFrame)

    Raises
    ------
    ValueError
        No guide is in all of them.
    """
    keys = {}
    for name, (profiles, _) in asked.items():
        columns = [tables.find_column(profiles, column) for column in (LINE, GUIDE)]
        keys[name] = pd.MultiIndex.from_frame(profiles[columns].astype(str))
    kept = next(iter(keys.values()))
    for own in keys.values():
        kept = kept[kept.isin(own)]
    if not len(kept):
        raise ValueError(f"no guide and line is in all of {', '.join(asked)}.")
    rows = {name: own.get_indexer(kept) for name, own in keys.items()}
    return {
        name: tuple(part.iloc[rows[name]].reset_index(drop=True) for part in parts)
        for name, parts in asked.items()
    }


def joined(profiles, readouts):
    """The profile of each guide in each line, and its readouts.

    Wells without reagent, or without a guide, are left out: that a well is empty is seen by
    everything.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well, normalised, with cell_line and reagent_identifier.
    readouts : pd.DataFrame
        From `read_readouts`.

    Returns
    -------
    (pd.DataFrame, pd.DataFrame)
        The medians of the wells, in the order of their first ones, and as many rows of readouts.

    Raises
    ------
    ValueError
        A column that is missing; no guide that has readouts.
    """
    line, guide = (tables.find_column(profiles, name) for name in (LINE, GUIDE))
    wells = profiles[profiles[guide].notna() & profiles[line].notna()]
    wells = wells[wells[tables.feature_columns(wells)].notna().all(axis=1)]
    if control := tables.key_columns(profiles, ["control_type"]):
        wells = wells[wells[control[0]].ne("empty")]
    measured = readouts.set_index([LINE, GUIDE])
    keys = pd.MultiIndex.from_frame(wells[[line, guide]].astype(str))
    wells = wells[keys.isin(measured.index)].reset_index(drop=True)
    if not len(wells):
        shown = ", ".join(map(" ".join, measured.index[:3]))
        raise ValueError(
            f"no guide of the profiles has readouts. The readout table has, for example, {shown}; "
            f"the profiles have {', '.join(map(' '.join, keys.unique()[:3]))}."
        )
    merged = consensus(wells, [line, guide], "median")
    own = pd.MultiIndex.from_frame(merged[[line, guide]].astype(str))
    return merged, measured.loc[own].reset_index(drop=True)


def groups_of(profiles):
    """The gene of each guide, the guide itself where the table names no genes.

    Returns
    -------
    numpy.ndarray
        (n,) of text.
    """
    column = (tables.key_columns(profiles, [GENE]) or tables.key_columns(profiles, [GUIDE]))[0]
    guide = profiles[tables.find_column(profiles, GUIDE)]
    return profiles[column].where(profiles[column].notna(), guide).astype(str).to_numpy()


def counted(profiles, readouts):
    """How many guides, genes and readouts each line has.

    Parameters
    ----------
    profiles, readouts : pd.DataFrame
        From `joined`.

    Returns
    -------
    pd.DataFrame
        Index: the line; guides, genes, guides a gene (median), readouts, missing (share of the
        values).
    """
    line = profiles[tables.find_column(profiles, LINE)].astype(str).to_numpy()
    groups = groups_of(profiles)
    rows = {}
    for name in dict.fromkeys(line):
        own, values = groups[line == name], readouts[line == name]
        rows[name] = {
            "guides": len(own),
            "genes": len(np.unique(own)),
            "guides a gene": float(np.median(np.unique(own, return_counts=True)[1])),
            "readouts": int(values.notna().any().sum()),
            "missing": round(float(values.isna().to_numpy().mean()), 4),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def first_lines(profiles, readouts, count):
    """The guides of the first lines, in the order of first appearance, as `joined` gives them."""
    line = profiles[tables.find_column(profiles, LINE)]
    kept = line.isin(line.drop_duplicates().iloc[:count])
    return profiles[kept].reset_index(drop=True), readouts[kept].reset_index(drop=True)


def gene_alone(profiles):
    """Which guides cut the same gene, and nothing else, as features."""
    genes = profiles[tables.metadata_columns(profiles)].assign(gene=groups_of(profiles))
    return baselines.one_hot(genes, "gene")


def with_features(profiles, features):
    """Other features for the same guides.

    Parameters
    ----------
    profiles : pd.DataFrame
        From `joined`.
    features : pd.DataFrame
        Index: line and guide, for each of them.

    Returns
    -------
    pd.DataFrame
    """
    own = pd.MultiIndex.from_frame(
        profiles[[tables.find_column(profiles, name) for name in (LINE, GUIDE)]].astype(str)
    )
    return baselines.described(profiles, features.loc[own])


def questions(profiles, readouts, lacking="", folds=5):
    """What a table of profiles can be asked, and why not the rest.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well.
    readouts : pd.DataFrame or None
        From `find_readouts`, like `lacking`, which says why there is none.
    lacking : str
    folds : int

    Returns
    -------
    pd.DataFrame
        Index: the question; asked (yes or no), said.
    """
    reasons = [lacking] if readouts is None else []
    reasons += [
        f"The profiles have no column {name}."
        for name in (LINE, GUIDE)
        if not tables.key_columns(profiles, [name])
    ]
    predicted = " ".join(reasons)
    if not reasons:
        try:
            known, _ = joined(profiles, readouts)
        except ValueError as error:
            predicted = str(error)
    genes = predicted
    if not predicted:
        genes = _lacking_genes(known)
        if _genes_by_line(known).max() < 2 * folds:
            predicted = f"Each line has fewer than {2 * folds} genes, which {folds} folds need."
            genes = predicted
    counts = "" if "Metadata_objects" in profiles else "The profiles come without cell counts."
    made = {
        "Which readouts do the profiles of guides predict?": predicted,
        "What are folds worth that part the guides of a gene?": genes,
        "Is it more than the number of cells?": predicted or counts,
    }
    rows = {name: ["no" if said else "yes", said] for name, said in made.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["asked", "said"])


def _genes_by_line(known):
    line = known[tables.find_column(known, LINE)].astype(str)
    return pd.Series(groups_of(known)).groupby(line.to_numpy()).nunique()


def _lacking_genes(known):
    """Why folds that keep genes together say nothing; empty where they do."""
    if not tables.key_columns(known, [GENE]):
        return f"No column {GENE}: guides are taken to be of genes of their own."
    line = known[tables.find_column(known, LINE)].astype(str)
    if pd.Series(groups_of(known)).groupby(line.to_numpy()).value_counts().max() < 2:
        return "One guide a gene: every fold keeps genes together."
    return ""
