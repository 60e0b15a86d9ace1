"""What to distrust on a plate: what speaks against the findings of its page, computed."""

import numpy as np
from scipy.stats import mannwhitneyu

from .. import tables
from ..evaluate import dose_response, plate_quality, retrieval_summary
from ..profiles.reference import listed
from .plate import TREATMENT, bare, counted

LEAST_REPLICATES = 3
"""Wells of a treatment below which one bad well decides what is said of it."""


def distrust(wells, flagged, sites, effects, answers, level, told=plate_quality.TOLD):
    """What speaks against a finding on this plate; an empty list where nothing was found.

    Parameters
    ----------
    wells : Wells
    flagged, sites : pd.DataFrame
        Of `plate_quality.flags`.
    effects : pd.DataFrame
        Of `position_effects`; empty where positions could not be asked about.
    answers : dict
        Of `ask`.
    level : float
        Of p-values.
    told : float
        See `plate_quality.TOLD`.

    Returns
    -------
    list of str
        Sentences.
    """
    return [
        *distrust_layout(wells, told),
        *_distrust_replicates(wells, answers, level),
        *distrust_controls(wells, level),
        *_distrust_flags(wells, flagged, sites),
        *_distrust_positions(effects, level),
    ]


def distrust_layout(wells, told):
    """Labels and doses that position gives away, controls that stand together."""
    if not wells.positioned:
        return
    treated = wells.profiles[wells.treated].reset_index(drop=True)
    asked = dict.fromkeys(filter(None, (wells.columns.label, wells.columns.dose)))
    for column in asked:
        part = treated[treated[column].notna()].reset_index(drop=True)
        if part[column].nunique() < 2:
            continue
        shares = plate_quality.told_by_position(part, part[column])
        ranks = {}
        if column == wells.columns.dose:
            ranks = plate_quality.ranks_by_position(part, part[column])
        for place, share in shares.items():
            if share >= told:
                yield (
                    f"The {place} of a well tells its {bare(column)} ({share:.2f} of what the "
                    f"commonest does not): what {place}s differ in passes for an effect of the "
                    f"{bare(column)}. Spread it over the plate."
                )
            elif abs(ranks.get(place, 0)) >= told:
                yield (
                    f"The {bare(column)} rises or falls with the {place} (Spearman's "
                    f"correlation {ranks[place]:.2f}): any gradient over the plate passes for a "
                    "dose response. Spread the doses over the plate."
                )
    negative = wells.profiles[wells.negative]
    if len(negative) > 1 and len(treated):
        for place, names in plate_quality.crowded(negative, treated).items():
            yield (
                f"All {len(negative)} negative controls stand in {place} {' and '.join(names)}, "
                "where no treatment stands: what is odd there sets every treatment apart from "
                "them. Spread the controls over the plate."
            )


def _distrust_replicates(wells, answers, level):
    """Treatments at one position, with few wells, or that no p-value could find."""
    frame = wells.profiles[~wells.negative & wells.profiles[TREATMENT].notna()]
    counts = frame[TREATMENT].value_counts()
    if counts.empty:
        yield (
            "Nothing here names the treatments, so that no finding of this page speaks of any."
        )  # fmt: skip
        return
    places = frame.groupby(TREATMENT)["Metadata_Well"].nunique()
    one = int(((places == 1) & (counts.reindex(places.index) > 1)).sum())
    if one:
        yield (
            f"{one} of {len(counts)} treatments stand at one position on every plate: their "
            "replicates share it, and what is alike may be the position."
        )
    few = int((counts < LEAST_REPLICATES).sum())
    if few:
        yield (
            f"{few} of {len(counts)} treatments have fewer than {LEAST_REPLICATES} wells: one odd "
            "well decides what is said of them."
        )
    for name, answer in answers.items():
        if not answer.table.empty:
            least = retrieval_summary(answer.table, level)["least_corrected_p_value"]
            if least >= level:
                yield (
                    f"That no treatment is found by {name} says nothing: no p-value below "
                    f"{least:.2g} can be reached."
                )


def distrust_controls(wells, level):
    """Negative controls that scatter as widely as the treatments."""
    negative = wells.negative
    if negative.sum() < 2 or not wells.treated.any():
        return
    features = tables.feature_columns(wells.profiles)
    distance = dose_response.distance_from_controls(wells.profiles, features)
    own, other = (
        values[np.isfinite(values)] for values in (distance[negative], distance[wells.treated])
    )
    if not len(own) or not len(other):
        return
    test = mannwhitneyu(other, own, alternative="greater")
    if test.pvalue >= level:
        yield (
            f"The negative controls scatter as widely as the treatments: of pairs of the two, "
            f"{test.statistic / (len(own) * len(other)):.0%} have the treatment farther from the "
            f"controls' centre (p = {test.pvalue:.2g}). Look at the plate map and at the images "
            "before anything else."
        )


def _distrust_flags(wells, flagged, sites):
    """Wells that quality control flagged."""
    if not len(flagged):
        return
    looked = plate_quality.wells_to_look_at(flagged, sites)
    names = plate_quality.well_names(sites)
    controls = plate_quality.negative_controls(sites)
    own = {name for name, control in zip(names, controls, strict=True) if control}
    among = sum(name in own for name in looked["well"])
    controls = f" (negative controls among them: {among})" if own else ""
    yield (
        f"Flags stand on {len(looked)} of {counted(len(set(names)))}{controls}: "
        f"{listed([(name,) for name in looked['well']])}. Repeat what rests on them without them."
    )


def _distrust_positions(effects, level):
    """Positions that explain more than chance."""
    for row in effects.itertuples():
        if row.corrected_p_value < level:
            yield (
                f"The {bare(row.position)} explains {row.explained:.0%} of the variance of the "
                f"{row.of}, exchanged wells {row.by_chance:.0%} (corrected p = "
                f"{row.corrected_p_value:.2g}; {row.wells})."
            )
