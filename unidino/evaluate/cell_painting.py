"""What plates of Cell Painting can be asked, beside published answers, chance and position."""

import pandas as pd

from .. import tables, wells
from ..profiles.aggregation import consensus
from . import baselines, bootstrap, neighbours, permutation, questions, significance
from .protocol import treated_wells

LEVEL = 0.05
"""Of the corrected p-value below which something is retrieved."""


def treated(wells):
    """The readable wells that are no negative control, which the table must name."""
    tables.find_column(wells, "control_type")
    return treated_wells(wells)


def beside_published(made, published):
    """The answers to a question of retrieval beside those that were published.

    Parameters
    ----------
    made : pd.DataFrame
        Of `questions.activity` or `questions.distinctiveness` by compound.
    published : pd.DataFrame
        Indexed by compound: mean_average_precision and corrected_p_value; those of the compounds
        in `made` are compared.

    Returns
    -------
    pd.Series
        compounds, ``ours`` and ``published`` (means of the mean average precision), difference,
        ``largest difference`` (of a compound, without sign); the share retrieved by our p-value,
        by copairs', by the exact one (missing where some compound's rankings are too many to
        count) and as published; ``smallest corrected p`` that can be reached.

    Raises
    ------
    ValueError
        A compound of which nothing was published.
    """
    names = made[tables.find_column(made, "compound")]
    absent = names[~names.isin(published.index)]
    if len(absent):
        raise ValueError(
            f"nothing was published of {len(absent)} compounds, such as {absent.iloc[0]!r}: index "
            "the published results by the names that stand in the profiles."
        )
    beside = published.loc[names].set_axis(made.index)
    told = significance.retrieval_summary(made, LEVEL)
    exact = made["corrected_exact_p_value"]
    differences = made["mean_average_precision"] - beside["mean_average_precision"]
    return pd.Series(
        {
            "compounds": len(made),
            "ours": made["mean_average_precision"].mean(),
            "published": beside["mean_average_precision"].mean(),
            "difference": differences.mean(),
            "largest difference": differences.abs().max(),
            "retrieved, our p": told["retrieved"],
            "copairs' p": told["retrieved_by_copairs"],
            "exact p": (exact < LEVEL).mean() if exact.notna().all() else float("nan"),
            "as published": (beside["corrected_p_value"] < LEVEL).mean(),
            "smallest corrected p": told["least_corrected_p_value"],
        }
    )


def of_mechanisms(wells, active, label="moa", *, null_size=10000, seed=0):
    """Consistency of a label among active compounds, and what it is over all that have one.

    Parameters
    ----------
    wells : pd.DataFrame
        Well profiles with compound, `label` and control_type.
    active : collection of str
        Compounds that `questions.activity` retrieved.
    label : str
        Column of mechanisms or targets, several divided by ``|``.
    null_size, seed : int
        As of `questions.consistency`.

    Returns
    -------
    pd.Series
        ``shared`` (labels of two compounds or more), ``active compounds`` (of the annotated ones),
        ``asked`` (labels that two active compounds share), ``active`` (mean normalised average
        precision over these labels), ``annotated`` (over all shared labels, inactive compounds
        counted as 0), ``all compounds`` (asked of all, active or not), ``retrieved`` (share of the
        asked labels) and ``smallest corrected p``.

    Raises
    ------
    ValueError
        As `questions.consistency`.
    """
    compounds = consensus(treated(wells), ["compound"], "median")
    options = {"null_size": null_size, "seed": seed}
    chosen = questions.consistency(compounds, label, active=active, **options)
    every = questions.consistency(compounds, label, **options)
    shared = chosen["n_perturbations"] > 1
    told = significance.retrieval_summary(chosen, LEVEL)
    labelled = compounds[compounds[tables.find_column(compounds, label)].notna()]
    names = labelled[tables.find_column(labelled, "compound")]
    return pd.Series(
        {
            "shared": shared.sum(),
            "active compounds": names.isin(list(active)).sum(),
            "asked": told["asked"],
            "active": told["mean_normalized_average_precision"],
            "annotated": chosen.loc[shared, "mean_over_annotated"].mean(),
            "all compounds": every.loc[shared, "mean_normalized_average_precision"].mean(),
            "retrieved": told["retrieved"],
            "smallest corrected p": told["least_corrected_p_value"],
        }
    )


def position(profiles):
    """The metadata of profiles beside features that know nothing but the row and the column.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well, named as A01.

    Returns
    -------
    pd.DataFrame
        One feature a row and one a column of the plate, 1 where the well lies and 0 elsewhere.

    Raises
    ------
    ValueError
        As `wells.positions`.
    """
    places = wells.positions(profiles[tables.find_column(profiles, "well")])
    values = pd.get_dummies(places[["row", "column"]].astype(str), dtype=float)
    values.columns = [f"emb{i}" for i in range(values.shape[1])]
    return baselines.described(profiles, values)


def nothing(profiles):
    """The metadata of profiles beside two features that are the same in all.

    All are equally near then, and scores are those that a random choice is expected to reach.
    """
    made = profiles[tables.metadata_columns(profiles)].reset_index(drop=True)
    return made.assign(emb0=1.0, emb1=0.0)


def label_scores(wells, label, name, exclude=("compound",), *, draws=2000, seed=0):
    """NSC of compounds: of the profiles and of their positions, beside exchanged labels.

    Wells of a compound are merged by their mean; a compound counts where another has its label.

    Parameters
    ----------
    wells : pd.DataFrame
        Well profiles with compound, well, `label` and control_type.
    label : str
        Column of a mechanism or target, one each.
    name : str
        Of the wells, as in figures.
    exclude : list of str
        As of `neighbours.nearest_neighbour_accuracy`.
    draws, seed : int
        Of the bootstrap, which resamples compounds, and of the exchanges.

    Returns
    -------
    pd.DataFrame
        features ("CellProfiler", "row and column"), level, accuracy (`name`), value, low, high
        (95 %, of the bootstrap), correct, n; null, null_low, null_high and p_value (of the
        exchanges).
    """
    wells = treated(wells)
    rows = []
    for features, profiles in {"CellProfiler": wells, "row and column": position(wells)}.items():
        compounds = consensus(profiles, ["compound"], "mean")
        several = neighbours.in_several(compounds, label, "compound")
        compounds = compounds[several].reset_index(drop=True)
        made = neighbours.nearest_neighbour_accuracy(compounds, label, exclude)
        low, high = bootstrap.bootstrap_interval(
            made, compounds, "compound", draws=draws, seed=seed
        )
        null = permutation.permutation_null(made, compounds, "compound", draws=draws, seed=seed)
        scored = {"value": float(made), "low": low, "high": high, "correct": made.correct}
        exchanged = null[["null", "null_low", "null_high", "p_value"]].to_dict()
        rows.append({"features": features, **scored, "n": made.n, **exchanged})
    table = pd.DataFrame(rows)
    table.insert(1, "level", "compound")
    table.insert(2, "accuracy", name)
    return table


def same_compound(wells, name, asked=None, *, draws=2000, seed=0):
    """How often the nearest well of another plate holds the same compound, and why.

    Parameters
    ----------
    wells : pd.DataFrame
        Profiles of the wells of several plates with compound, plate, well and control_type;
        negative controls are left out.
    name : str
        Of the wells, as in figures.
    asked : str, optional
        A control_type: only its wells are asked about, the others are neighbours.
    draws, seed : int
        Of the bootstrap, which resamples compounds.

    Returns
    -------
    pd.DataFrame
        Once with the same position allowed and once with it barred, for the features, for the
        position alone ("row and column") and for a random choice: features, level, accuracy
        (`name` and the rule), value, low, high (95 %), correct, n, ``said``. Asked are wells whose
        compound some allowed neighbour has; where there is none, values are missing, and ``said``
        says why.
    """
    wells = treated(wells)
    kinds = wells[tables.find_column(wells, "control_type")]
    compound, well = (wells[tables.find_column(wells, key)] for key in ("compound", "well"))
    about = kinds == asked if asked else pd.Series(True, wells.index)
    several = well.groupby(compound).transform("nunique") > 1
    rows = []
    for rule, exclude in {"allowed": ["plate"], "barred": ["plate", "well"]}.items():
        for features, describe in {
            "CellProfiler": lambda same: same, "row and column": position, "random choice": nothing
        }.items():  # fmt: skip
            row = {"features": features, "level": "well", "accuracy": f"{name}, position {rule}"}
            if rule == "barred" and not (about & several).any():
                rows.append({**row, "correct": 0, "n": 0, "said": questions.NOT_ASKABLE})
                continue
            profiles = describe(wells)
            made = neighbours.nearest_neighbour_accuracy(profiles, "compound", exclude)
            pairs = made.neighbours
            pairs = pairs[pairs["answerable"] & about.to_numpy()[pairs["profile"]]]
            part = neighbours.Accuracy(pairs.reset_index(drop=True), 0, made.identity)
            low, high = bootstrap.bootstrap_interval(
                part, profiles, "compound", draws=draws, seed=seed
            )
            scored = {"value": float(part), "low": low, "high": high, "correct": part.correct}
            rows.append({**row, **scored, "n": part.n, "said": ""})
    return pd.DataFrame(rows)
