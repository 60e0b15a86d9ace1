"""Cell-health readouts of simulated guides, and profile tables whose guides agree as planted.

Nothing here is measured from a real data set: each of the readouts follows from the phenotype that
was planted by a simple rule, in the names and the layout of the real table. What a gene does to a
readout beyond what any image shows is planted, too: guides of one gene share it.

Names and layout: the cell-health repository of Way et al. 2021 (doi 10.1091/mbc.E20-12-0784).
"""

import numpy as np
import pandas as pd

from . import cells, designs

OWN_EFFECT = 0.12
"""What a gene does to a kind of readout and no image shows: standard deviation of a logarithm."""

NOISE = 0.06
"""Of the assay: standard deviation of a logarithm, one number a guide, line and readout; to its
square comes one over the expected cells of a population, for what is measured in it."""

FEWEST = 5.0
"""Expected cells of a population below which nothing is measured in it."""

EMPTY = "EMPTY"
"""What the table calls wells without reagent."""

EMPTY_COUNT = 0.02
"""Factor on the cells of wells without reagent."""

_CELLS = 1000
"""Expected cells of a well of the assay, at a `count` of 1."""

_POPULATIONS = (
    "all", "cc", "polyploid", "polynuclear", "s", "g1", "g2", "early_mitosis", "mitosis",
    "late_mitosis",
)  # fmt: skip

_SPOTS = ("n_spots_h2ax_mean", "n_spots_h2ax_per_nucleus_area_mean", "high_h2ax")


def _saturated(odds):
    """A share from odds."""
    return odds / (1 + odds)


def expected(phenotype):
    """The readouts of a phenotype without noise.

    Parameters
    ----------
    phenotype : dict
        As of `cells.blend`.

    Returns
    -------
    dict
        The 70 real names -> values; missing in populations of fewer than `FEWEST` cells.
    """
    p = phenotype
    area, count = p["nucleus_area"], _CELLS * p["count"]
    # Cells that enlarge their nuclei and stay few have left the cycle.
    dividing = 0.3 * min(p["count"], 1.0) / area
    mitotic = p["mitotic"]
    shares = {
        "all": 1.0,
        "cc": 1 - p["apoptotic"],
        "polyploid": _saturated(0.03 * area**2),
        "polynuclear": _saturated(0.5 * p["binucleate"] + 0.01 * p["nucleus_roughness"]),
        "s": dividing,
        "g2": 0.15 * area**0.5,
        "early_mitosis": 0.2 * mitotic,
        "mitosis": 0.5 * mitotic,
        "late_mitosis": 0.3 * mitotic,
    }
    shares["g1"] = max(1 - dividing - shares["g2"] - mitotic, 0.05)
    spots = 1.5 * area / p["chromatin"] ** 0.5
    made = {}
    for number, name in enumerate(_POPULATIONS):
        here = count * shares[name]
        values = {"n_objects": here}
        own = spots * (1 + 0.1 * number)
        values |= dict(zip(_SPOTS, (own, own / area, _saturated(own / 4)), strict=True))
        if here < FEWEST:
            values |= dict.fromkeys(_SPOTS, np.nan)
        made |= {f"cc_{name}_{measure}": value for measure, value in values.items()}
    made |= {f"cc_cc_{name}": shares[name] for name in _POPULATIONS[4:]}
    dead = _saturated(p["apoptotic"] + 0.1 * max(1 / p["count"] - 1, 0) + 0.02)
    early, late = 0.6 * p["apoptotic"], 0.4 * p["apoptotic"]
    made |= {
        "cc_all_nucleus_area_mean": 150 * area,
        "cc_all_nucleus_roundness_mean": 0.9 / (1 + 0.05 * p["nucleus_roughness"]),
        "cc_all_large_round_polyploid_mean": shares["polyploid"],
        "cc_all_large_notround_polynuclear_mean": shares["polynuclear"],
        "cc_s_intensity_nucleus_area_mean": 800 * p["dna_intensity"],
        "cc_s_intensity_nucleus_area_sum": 800 * p["dna_intensity"] * area * count * dividing,
        "cc_g2_g1_count": shares["g2"] / shares["g1"],
        "cc_g1_plus_g2_count": count * (shares["g1"] + shares["g2"]),
        "cc_g2_plus_all_m_count": count * (shares["g2"] + mitotic),
        # The share of cells that took the virus up has nothing to do with its guide.
        "cc_infection_percentage": 0.9,
        "vb_infection_percentage": 0.9,
        "vb_percent_live": 1 - dead,
        "vb_percent_dead": dead,
        "vb_percent_all_apoptosis": early + late + 0.01,
        "vb_percent_early_apoptosis": early + 0.005,
        "vb_percent_late_apoptosis": late + 0.005,
        "vb_percent_dead_only": max(dead - late, 0.005),
        "vb_percent_caspase_dead_only": (early + late) / max(dead - late, 0.005),
        "vb_num_live_cells": count * (1 - dead),
        "vb_ros_mean": 200 * p["mito_intensity"] * p["mito_fragmentation"] ** 0.5,
        "vb_ros_back_mean": 60.0,
        "vb_live_cell_area": 900 * p["cell_area"],
        "vb_live_cell_roundness": _saturated(4 / p["elongation"]),
        "vb_live_cell_width_length": 0.7 / p["elongation"],
    }
    return made


READOUTS = tuple(expected(cells.NORMAL))
"""The 70 readouts, in the order of the table."""


def _kind(readout):
    """Readouts that are one measurement, such as the cells of all populations, move together."""
    for word in ("h2ax", "n_objects", "apoptosis", "mitosis", "_g1", "_g2"):
        if word in readout:
            return word
    return readout


_UNRELATED = ("cc_infection_percentage", "vb_infection_percentage", "vb_ros_back_mean")

# The number of each readout's kind; none for what no gene changes.
_KINDS = pd.Series({name: _kind(name) for name in READOUTS if name not in _UNRELATED})
_KINDS = dict(zip(_KINDS.index, pd.factorize(_KINDS)[0].tolist(), strict=True))


def table(seed, guides):
    """The readout table of guides in lines, in the real layout.

    Parameters
    ----------
    seed : int
    guides : list of dict
        cell_line, reagent_identifier and gene_symbol (both missing for wells without reagent),
        mechanism and strength, at least.

    Returns
    -------
    pd.DataFrame
        A row a line and guide: Metadata_profile_id, Metadata_pert_name (the guide; EMPTY without
        reagent), Metadata_cell_line, then `READOUTS`.
    """
    rows = {}
    for guide in guides:
        name = guide.get("reagent_identifier") or EMPTY
        key = (guide["cell_line"], name)
        if key in rows:
            continue
        changes = designs.MECHANISMS.get(guide.get("mechanism"), {})
        phenotype = cells.blend(changes, guide["strength"])
        if name == EMPTY:
            phenotype["count"] *= EMPTY_COUNT
        rows[key] = _measured(expected(phenotype), seed, guide, name)
    made = pd.DataFrame(rows.values(), index=pd.MultiIndex.from_tuples(rows)).sort_index()
    described = pd.DataFrame(
        {
            "Metadata_profile_id": [f"profile_{i}" for i in range(len(made))],
            "Metadata_pert_name": made.index.get_level_values(1),
            "Metadata_cell_line": made.index.get_level_values(0),
        }
    )
    # Six digits, as far as an assay goes, and the same text on every machine.
    values = made.map(lambda v: float(f"{v:.6g}")).reset_index(drop=True)
    made = pd.concat([described, values], axis=1)
    made.attrs["separator"] = "\t"
    return made


def phenotypes(truth):
    """What was planted in each guide and line, as features: what a perfect look would see.

    Parameters
    ----------
    truth : pd.DataFrame
        `simulate.planted_truth` of Cell Health.

    Returns
    -------
    pd.DataFrame
        Index: line and guide; ``emb_planted_0000`` …, the logarithms of the parameters of
        `cells.NORMAL`, those of `cells.SHARES` as they are.
    """
    known = truth.dropna(subset="reagent_identifier").drop_duplicates(
        ["batch", "reagent_identifier"]
    )
    rows = []
    for well in known.itertuples():
        phenotype = cells.blend(designs.MECHANISMS.get(well.mechanism, {}), well.strength)
        rows.append([v if k in cells.SHARES else np.log(v) for k, v in phenotype.items()])
    names = [f"emb_planted_{i:04d}" for i in range(len(cells.NORMAL))]
    keys = pd.MultiIndex.from_frame(known[["batch", "reagent_identifier"]].astype(str))
    return pd.DataFrame(rows, index=keys, columns=names)


def _counted(readout, values):
    """Expected cells that a readout is measured in, all where it names no population."""
    population = next((p for p in _POPULATIONS if readout.startswith(f"cc_{p}_")), "all")
    share = f"cc_{readout.removeprefix('cc_cc_')}_n_objects"
    return max(values.get(share, values[f"cc_{population}_n_objects"]), 1.0)


def _measured(values, seed, guide, name):
    """Readouts with the gene's own effect and the noise of the assay."""
    noise = designs.generator(seed, "assay", guide["cell_line"], name)
    noise = noise.standard_normal(len(values)).tolist()
    own = designs.generator(seed, "own effect", guide.get("gene_symbol"))
    own = (guide["strength"] * OWN_EFFECT * own.standard_normal(len(_KINDS))).tolist()
    made = {}
    for (readout, value), drawn in zip(values.items(), noise, strict=True):
        change = drawn * (NOISE**2 + 1 / _counted(readout, values)) ** 0.5
        if readout in _KINDS:
            change += own[_KINDS[readout]]
        made[readout] = value * float(np.exp(change))
    return made


def guide_profiles(
    seed, share, genes=30, guides=2, *, features=60, readouts=20, noise=0.2, assay_noise=0.3
):
    """Profiles and readouts of guides that share so much of their effect with their gene's others.

    The effect of a guide is a change of every phenotype parameter, `share` of its variance common
    to the guides of a gene. Profiles are saturating mixtures of the parameters with noise. Half of
    the readouts are mixtures of the parameters, too; the other half follow changes of their own,
    as much of them common to the guides of a gene, which the profiles do not show.

    Parameters
    ----------
    seed : int
    share : float
        0: guides of a gene have nothing in common; 1: they do the same.
    genes, guides : int
        Genes, and guides of each.
    features, readouts : int
    noise, assay_noise : float
        Standard deviations, of signals whose standard deviation is about 1.

    Returns
    -------
    pd.DataFrame
        gene_symbol and reagent_identifier; ``emb_phenotype_0000`` …; ``cc_seen_00`` … and
        ``cc_unseen_00`` …

    Raises
    ------
    ValueError
        A share outside of 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it is a share of the variance, 0 to 1.")
    rng = np.random.default_rng(seed)
    size = len(cells.NORMAL)

    def effects():
        common = np.repeat(rng.normal(size=(genes, size)), guides, axis=0)
        own = rng.normal(size=(genes * guides, size))
        return np.sqrt(share) * common + np.sqrt(1 - share) * own

    seen, unseen = effects(), effects()
    half = readouts // 2

    def mixed(values, count):
        return values @ rng.normal(size=(size, count)) / np.sqrt(size)

    profile = np.tanh(mixed(seen, features)) + noise * rng.normal(size=(len(seen), features))
    assays = np.hstack([mixed(seen, half), mixed(unseen, readouts - half)])
    assays = assays + assay_noise * rng.normal(size=assays.shape)
    names = [f"cc_seen_{i:02d}" for i in range(half)]
    names += [f"cc_unseen_{i:02d}" for i in range(readouts - half)]
    symbols = np.repeat([f"gene{i}" for i in range(genes)], guides)
    numbers = np.tile(np.arange(1, guides + 1), genes)
    described = {
        "gene_symbol": symbols,
        "reagent_identifier": [f"{s}-{n}" for s, n in zip(symbols, numbers, strict=True)],
    }
    columns = [f"emb_phenotype_{i:04d}" for i in range(features)]
    return pd.concat(
        [
            pd.DataFrame(described),
            pd.DataFrame(profile, columns=columns),
            pd.DataFrame(assays, columns=names),
        ],
        axis=1,
    )
