"""Normalisation of profiles against reference wells, plate by plate, as pycytominer defines it.

`pycytominer.normalize` does the whitening. For the methods that take each feature alone, nearly all
of its time goes into looking up the columns of a plate one by one (for the query of the reference,
and for their types), so that their sums, of one line each, are done here; tests compare the two.
``benchmarks/profiles.py`` shows what that saves.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .. import tables
from . import defects
from . import reference as references

NORM_METHODS = ("standardize", "mad_robustize", "robustize", "spherize", "no_post_proc")


@dataclass
class Normalised:
    """Normalised profiles and how they came about.

    Attributes
    ----------
    profiles : pd.DataFrame
        The rows in their order, the metadata, the features that were kept (float32).
    reference_used : str
        What the fit rests on, in words.
    dropped_features : list of str
        Features that cannot be normalised on any plate, or not on one where their channel is alive.
    dead_channels : dict
        {plate in words: channels whose features are missing there}, all channels of a dead plate.
    left_out : list of str
        Reference profiles of next to no cells, or of a channel that is constant or saturated, by
        their keys.
    warnings : list of str
    """

    profiles: pd.DataFrame
    reference_used: str
    dropped_features: list = field(default_factory=list)
    dead_channels: dict = field(default_factory=dict)
    left_out: list = field(default_factory=list)
    warnings: list = field(default_factory=list)


def normalise(profiles, norm_method="standardize", reference="negcon", *, by=None):
    """Normalise features against reference profiles, plate by plate.

    What is wrong with a plate stays there: where nothing of it can be normalised its profiles are
    missing, and where a channel is dead (constant, nothing but noise, or without spread among the
    reference) the features of that channel. Reference profiles of next to no cells, and those of
    which a channel is constant or saturated, are left out of the fit (`reference.leave_out`). The
    warnings name all of it.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well (or site, or image): metadata with bare or ``Metadata_`` names, features.
        Its measures of quality are looked at where it has them.
    norm_method : {"standardize", "mad_robustize", "robustize", "spherize", "no_post_proc"}
        Mean and standard deviation; median and MAD; median and interquartile range; whitening;
        nothing. spherize is fitted once, on the reference of all plates.
    reference : str
        "negcon" (control_type; all profiles where a dataset names no controls), "all" (as the
        release: sparse ones too), or a query (`queries.rows`) such as ``"compound == 'DMSO'"``.
    by : list of str, optional
        Columns that name a plate; source, batch and plate by default, as far as there are. An
        empty list, or a table without plates, is normalised as one set.

    Returns
    -------
    Normalised
        A profile with a missing or infinite feature stays out of every fit. It keeps its row, its
        missing features stay missing (all of them with spherize, which mixes features), and the
        others are normalised.

    Raises
    ------
    ValueError
        Fewer than 4 reference profiles on a plate; no plate that can be normalised; for spherize no
        more reference profiles than features; a reference that matches nothing; no features, or
        features that are not numbers.
    """
    if norm_method not in NORM_METHODS:
        raise ValueError(f"norm_method {norm_method!r} is not one of {', '.join(NORM_METHODS)}.")
    if norm_method == "no_post_proc":
        return Normalised(profiles, "none")
    profiles = profiles.reset_index(drop=True)
    features = tables.feature_columns(profiles)
    values = _numbers(profiles, features)
    plates = references.plates_of(profiles, by)
    rows, words, notes = references.choose(profiles, reference, plates, norm_method)
    flat, said = defects.flat_channels(profiles, plates)
    left_out = np.zeros(len(profiles), bool)
    if words not in references.ALL:
        sparse, noted = references.sparse_reference(profiles, plates, rows)
        unlit, noted_too = defects.flat_reference(profiles, plates, rows & ~sparse, flat)
        left_out = sparse | unlit
        said = noted + said + noted_too
    rows &= ~left_out
    # Whitening pools the plates: what a plate can contribute is judged on all of its profiles.
    judged = np.ones_like(rows) if norm_method == "spherize" else rows
    survey = defects.survey(values, profiles, plates, features, judged, norm_method)
    _check(survey, words, _gaps(features, values, rows))
    fit = _pooled if norm_method == "spherize" else _apart
    fitted, kept, blocks, noted = fit(values, survey, rows, words)
    notes += said + noted
    made = np.full(values.shape, np.nan, np.float32)
    for members, able in blocks:
        block = np.ix_(members, able)
        part = values[block].astype(float)
        if norm_method == "spherize":
            made[block] = _spherized(part, fitted[members])
        else:
            made[block] = _scaled(part, fitted[members], norm_method)
    table = pd.DataFrame(made, columns=features, copy=False)
    dropped = [name for name, keep in zip(features, kept, strict=True) if not keep]
    metadata = profiles[tables.metadata_columns(profiles)]
    return Normalised(
        pd.concat([metadata, table.drop(columns=dropped)], axis=1),
        words,
        dropped,
        {references.listed([key]): channels for key, channels in survey.missing().items()},
        [references.listed([key]) for key in references.keys_of(profiles, left_out)],
        notes,
    )


def _numbers(profiles, features):
    """Features as one array of its own, single precision where they come so, infinite ones NaN."""
    if not features:
        raise ValueError("the table has no features: no column is named emb…, Cells_, Nuclei_ …")
    text = [name for name in features if not pd.api.types.is_numeric_dtype(profiles[name])]
    if text:
        raise ValueError(
            f"{len(text)} feature columns hold text, the first is {text[0]}; convert them to "
            "numbers (pd.to_numeric) or remove them."
        )
    values = profiles[features].to_numpy(na_value=np.nan)
    values = values.astype(np.float32 if values.dtype == np.float32 else float)
    values[~np.isfinite(values)] = np.nan
    return values


def _check(survey, words, gaps):
    """Stop where not a single plate, or not a single feature, can be normalised."""
    if not survey.able:
        hint = (
            references.remedy(words)
            if defects.FEW in survey.lost.values()
            else "Did the images fail, are they constant, or the reference copies of each other?"
        )
        raise ValueError(
            f"no profile can be normalised (reference: {words}). {' '.join(survey.losses())}"
            f"{gaps} {hint}"
        )
    if not survey.kept().any():
        raise ValueError(
            f"no feature varies among the reference ({words}) of every plate: "
            f"{' '.join(survey.sentences())} Leave the worst plates out."
        )


def _gaps(features, values, rows):
    """A sentence on the feature that most readable reference profiles lack; empty without one."""
    finite = np.isfinite(values)
    read = rows & finite.any(1)
    lacking = (~finite[read]).sum(0)
    if not lacking.any():
        return ""
    worst = int(lacking.argmax())
    return (
        f" {int((lacking > 0).sum())} features are missing or infinite in some reference profile "
        f"({features[worst]} in {int(lacking[worst])} of {int(read.sum())}), which keeps it out of "
        "the fit: remove such features first."
    )


def _apart(values, survey, rows, words):
    """Plate by plate: rows of the fits, features kept, rows and features of each fit, warnings."""
    kept = survey.kept()
    living = {key: survey.plates[key] for key in survey.able}
    counts = {key: int(survey.fitted[members].sum()) for key, members in living.items()}
    notes = survey.sentences("its features are missing there")
    blocks = [(members, kept & survey.able[key]) for key, members in living.items()]
    return survey.fitted, kept, blocks, notes + references.few_reference(counts, words)


def _pooled(values, survey, rows, words):
    """All plates in one fit, for whitening; as `_apart`."""
    notes = survey.sentences("profiles of these plates are missing, since spherize mixes features")
    survey.blank(values)
    kept = survey.kept()
    complete = np.isfinite(values[:, kept]).all(1)
    fitted = rows & complete
    kept[kept] = defects.varies(values[np.ix_(fitted, kept)], survey.overall[kept], "spherize")
    references.check_whitening(int(fitted.sum()), int(kept.sum()), words)
    kept[kept] = _independent(values[np.ix_(fitted, kept)])
    dependent = int((survey.kept() & ~kept).sum())
    if dependent:
        notes.append(
            f"{dependent} of {len(kept)} features have no spread of their own among the reference, "
            "beyond what others have, and are dropped."
        )
    notes += references.few_reference({(): int(fitted.sum())}, words)
    return fitted, kept, [(np.flatnonzero(complete), kept)], notes


def _independent(reference):
    """Features with a spread of their own, beyond what a sum of the others has.

    Embeddings hold some that do not: layer normalisation fixes the sum of each channel's.
    """
    from scipy.linalg import qr

    scaled = (reference - reference.mean(0, dtype=float)) / reference.std(0, dtype=float)
    upper, order = qr(scaled, mode="r", pivoting=True, check_finite=False)
    own = np.zeros(reference.shape[1])
    diagonal = np.abs(np.diag(upper)) / np.sqrt(len(reference))
    own[order[: len(diagonal)]] = diagonal
    return own > defects.SHARE_FLOOR


def _scaled(values, reference, method):
    """Features of one plate, less the centre of its reference, by its spread; in place."""
    fit = values[reference]
    if method == "standardize":
        centre, spread = fit.mean(0), fit.std(0)
    elif method == "robustize":
        low, centre, high = np.percentile(fit, [25, 50, 75], axis=0)
        spread = high - low
    else:
        centre = np.median(fit, 0)
        # Makes the MAD of normal values their standard deviation. No epsilon: features of zero
        # spread are gone already, and it would only bend the others.
        spread = 1.4826 * np.median(np.abs(fit - centre), 0)
    values -= centre
    values /= spread
    return values


def _spherized(values, reference):
    """Features of all plates through pycytominer's whitening."""
    with warnings.catch_warnings():
        # It sets an option of pandas that pandas 3 deprecates, and would say so on every page.
        warnings.simplefilter("ignore")
        import pycytominer
    names = [f"f{i}" for i in range(values.shape[1])]
    frame = pd.DataFrame(values, columns=names)
    frame.insert(0, "Metadata_reference", reference)
    made = pycytominer.normalize(
        frame,
        features=names,
        meta_features=["Metadata_reference"],
        samples="Metadata_reference",
        method="spherize",
        spherize_method="ZCA-cor",
    )
    made = made[names].to_numpy(float)
    if made.std(0).max() > 1 / defects.SHARE_FLOOR:
        raise ValueError(
            "spherize: along some direction the reference varies less than a thousandth of what "
            "all profiles do, which whitening would blow up. Give more reference profiles, or use "
            "norm_method='standardize' or profiles.tvn, which regularises."
        )
    return made
