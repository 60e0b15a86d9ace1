"""The plan of each simulated dataset: plates, treatments, files and tables in the real layout."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from . import cells, designs, readouts
from .microscope import Camera

PAINTING = ("dna", "er", "rna", "agp", "mito")

# Factors at `batch_effect` 1: standard deviations of the logarithm.
_BATCH_GAIN, _PLATE_GAIN, _BATCH_DENSITY, _POSITION = 0.14, 0.05, 0.1, 0.06
_EDGE_COUNT = 0.88

# Columns that name what a well was treated with, in one dataset or another.
_TREATMENTS = ("compound", "perturbation_id", "gene_symbol")


@dataclass
class Site:
    """One field to draw.

    Attributes
    ----------
    files : list of str
        Below the dataset's folder: one a stain, or one for all.
    stains : list of str
        Keys of `cells.STAINS`.
    name : str
        Decides its random numbers, with the seed.
    mechanism : str or None
    strength : float
        0 for untreated to 1 for full effect.
    cell_type : cells.CellType
    camera : Camera
    shape : (int, int)
        Pixels.
    changes : dict
        Factors on top of the mechanism.
    gains : list of float
        Brightness of each stain.
    treatment : str or None
        Compound or gene.
    """

    files: list
    stains: list
    name: str
    mechanism: str | None
    strength: float
    cell_type: cells.CellType
    camera: Camera
    shape: tuple
    changes: dict = field(default_factory=dict)
    gains: list = field(default_factory=list)
    treatment: str | None = None


@dataclass
class Plan:
    """Sites to draw, tables to write, and what was planted in each well.

    A table is written with the separator of its ``attrs``, a comma by default.
    """

    sites: list
    tables: dict
    truth: pd.DataFrame


def random_phenotype(seed, *names):
    """A morphology that no published mechanism has.

    Parameters
    ----------
    seed : int
    *names : str
        Mechanism and treatment; the phenotype follows from them and the seed alone.

    Returns
    -------
    dict
        3 to 7 parameters of `cells.NORMAL` at full effect.
    """
    rng = designs.generator(seed, "phenotype", *names)
    changes = {}
    for name in rng.permutation(list(cells.NORMAL))[: rng.integers(3, 8)].tolist():
        if name in cells.SHARES:
            changes[name] = float(rng.uniform(0, 0.4))
            continue
        # Never so near to 1 that nothing is seen.
        step = 0.3 + abs(rng.normal(0, 0.4))
        low, high = designs.LIMITS[name]
        changes[name] = float(np.clip(np.exp(step * rng.choice((-1, 1))), low, high))
    return changes


def well_grid(count):
    """(rows, columns) of the smallest usual plate that holds `count` wells.

    Raises
    ------
    ValueError
        More than 1536.
    """
    for rows, columns in ((8, 12), (16, 24), (32, 48)):
        if count <= rows * columns:
            return rows, columns
    raise ValueError(f"wells is {count}; a plate has at most 1536.")


def well_label(row, column):
    """A01 for row 0, column 0; AA01 for row 26."""
    letters = chr(ord("A") + row) if row < 26 else "A" + chr(ord("A") + row - 26)
    return f"{letters}{column + 1:02d}"


def lay_out(rng, treatments):
    """Put treatments into the wells of a plate, in random places.

    Returns
    -------
    list of dict
        The treatments with ``row`` and ``column`` (from 0), ``well`` and ``edge``.
    """
    rows, columns = well_grid(len(treatments))
    # A compact block that keeps the plate's proportions, so that small plates have edges, too.
    high = max(1, min(rows, round((len(treatments) * rows / columns) ** 0.5)))
    wide = -(-len(treatments) // high)
    places = [(place // wide, place % wide) for place in rng.permutation(len(treatments))]
    return [
        {
            **treatment,
            "row": row,
            "column": column,
            "well": well_label(row, column),
            "edge": row in (0, high - 1) or column in (0, wide - 1),
            "across": (column + 0.5) / wide - 0.5,
        }
        for treatment, (row, column) in zip(treatments, places, strict=True)
    ]


class Effects:
    """Batch, plate and position effects of a dataset, each drawn from its name."""

    def __init__(self, seed, strength, stains):
        self.seed = seed
        self.strength = strength
        self.stains = stains

    def of(self, batch, plate, well):
        """(gains of the stains, factors on the phenotype) of a well."""
        by_batch = designs.generator(self.seed, "batch", batch)
        by_plate = designs.generator(self.seed, "plate", batch, plate)
        s = self.strength
        gain = by_batch.normal(0, _BATCH_GAIN * s, len(self.stains))
        density = by_batch.normal(0, _BATCH_DENSITY * s)
        gain = gain + by_plate.normal(0, _PLATE_GAIN * s, len(self.stains))
        slope = by_plate.normal(0, 2 * _POSITION * s)
        gain = gain + slope * well["across"]
        count = np.exp(density) * (_EDGE_COUNT**s if well["edge"] else 1.0)
        return np.exp(gain).tolist(), {"count": float(count)}


def plate_wells(seed, batches, plates, treatments_of, effects, effect, batch_effect):
    """Every well of every plate as a dict: keys, treatment, effects, planted strength."""
    wells = []
    for batch in batches:
        for plate in plates(batch):
            placed = lay_out(
                designs.generator(seed, "layout", batch, plate), treatments_of(batch, plate)
            )
            for well in placed:
                gains, changes = effects.of(batch, plate, well)
                well = {"batch": batch, "plate": plate, **well}
                well["strength"] = well.get("strength", 0.0) * effect
                well |= {"gains": gains, "changes": changes}
                wells.append(well)
    return wells


def truth_table(wells, extra=()):
    """The planted truth, a row a well."""
    names = ["batch", "plate", "well", *extra, "mechanism", "strength"]
    rows = [
        {name: well.get(name) for name in names}
        | {"count_factor": well["changes"]["count"], "mean_gain": float(np.mean(well["gains"]))}
        for well in wells
    ]
    return pd.DataFrame(rows).round(4)


def site_of(well, number, files, stains, cell_type, camera, shape):
    name = f"{well['batch']}|{well['plate']}|{well['well']}|{number}"
    return Site(
        files=files,
        stains=list(stains),
        name=name,
        mechanism=well.get("mechanism"),
        strength=well["strength"],
        cell_type=cell_type,
        camera=camera,
        shape=shape,
        changes=well["changes"],
        gains=well["gains"],
        treatment=next((well[name] for name in _TREATMENTS if well.get(name)), None),
    )


def room_for_treatments(controls, wells, valset):
    """Wells left for treatments."""
    if wells <= controls:
        raise ValueError(f"wells is {wells}; {valset} needs more than its {controls} controls.")
    return wells - controls


def guid(seed, *names):
    text = hashlib.sha256("|".join(map(str, (seed, "guid", *names))).encode()).hexdigest().upper()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))


def bbbc021(seed, field, sites, wells, plates, batches, effect, batch_effect):
    """Weeks of replicate plates; each compound in one week, as in the real set."""
    wells, plates, batches = wells or 27, plates or 2, batches or 4
    names = {"DAPI": "dna", "Tubulin": "tubulin", "Actin": "actin"}
    room = room_for_treatments(9, wells, "BBBC021")
    weeks = {week: [] for week in range(1, batches + 1)}
    number = 0
    for moa, compounds in designs.BBBC021_MOA.items():
        for i, compound in enumerate(compounds):
            single = moa in designs.ONE_BATCH_MOA
            week = 1 + (list(designs.BBBC021_MOA).index(moa) if single else number) % batches
            weeks[week].append((compound, moa, (1.0, 0.8, 0.5)[i]))
            number += 1
    doses = {}
    for compounds in weeks.values():
        for i, (compound, moa, potency) in enumerate(compounds):
            share = room // len(compounds) + (i < room % len(compounds))
            half = (0.1, 0.3, 1.0, 3.0)[int(designs.generator(seed, "half", compound).integers(4))]
            # From twice the half-effective dose upwards, then downwards for more doses.
            steps = [half * 3.0**k for k in (1, 2, 0, 3, -1, -2, 4, -3)][:share]
            doses[compound] = [
                {
                    "compound": compound,
                    "concentration": round(dose, 6),
                    "mechanism": moa,
                    "strength": potency * designs.hill(dose, half),
                    "moa": moa if dose > 0.5 * half else None,
                }
                for dose in steps
            ]
    control = [{"compound": "DMSO", "concentration": 0.0, "strength": 0.0, "moa": "DMSO"}] * 6
    taxol = {
        "compound": "taxol", "concentration": 0.3, "strength": 0.9,
        "mechanism": "Microtubule stabilizers", "moa": "Microtubule stabilizers",
    }  # fmt: skip
    unknown = {"compound": "UNKNOWN", "concentration": 0.0, "strength": 0.0}

    def treatments(week, plate):
        tested = [dose for compound, _, _ in weeks[week] for dose in doses[compound]]
        return [*control, taxol, taxol, unknown, *tested]

    placed = plate_wells(
        seed,
        list(weeks),
        lambda week: [f"Week{week}_{22000 + 100 * week + 20 * i + 1}" for i in range(plates)],
        treatments,
        Effects(seed, batch_effect, names),
        effect,
        batch_effect,
    )
    camera = Camera(bits=12, shift=4, offset=110, read_noise=4, electrons=700, gain=2.2)
    shape = (field, round(field * 1280 / 1024))
    drawn, rows, image_number = [], [], 0
    for well in placed:
        for s in range(1, sites + 1):
            image_number += 1
            key = (well["plate"], well["well"], s)
            row = {"TableNumber": well["batch"], "ImageNumber": image_number}
            files = []
            for channel, wave in zip(names, ("w1", "w2", "w4"), strict=True):
                name = f"{well['well']}_s{s}_{wave}{guid(seed, *key, wave)}.tif"
                row[f"Image_FileName_{channel}"] = name
                row[f"Image_PathName_{channel}"] = f"Week{well['batch']}/{well['plate']}"
                files.append(f"Images/{well['plate']}/{name}")
            row |= {
                "Image_Metadata_Plate_DAPI": well["plate"],
                "Image_Metadata_Well_DAPI": well["well"],
                "Replicate": 1 + int(well["plate"].split("_")[1]) // 20 % max(plates, 1),
                "Image_Metadata_Compound": well["compound"],
                "Image_Metadata_Concentration": well["concentration"],
            }
            rows.append(row)
            drawn.append(site_of(well, s, files, names.values(), cells.CellType(), camera, shape))
    known = [w for w in placed if w.get("moa")]
    moa = pd.DataFrame(known)[["compound", "concentration", "moa"]].drop_duplicates()
    compounds = pd.DataFrame(placed)[["compound"]].drop_duplicates()
    tables = {
        "BBBC021_v1_image.csv": pd.DataFrame(rows),
        "BBBC021_v1_moa.csv": moa.sort_values(["compound", "concentration"]),
        "BBBC021_v1_compound.csv": compounds.assign(smiles="").sort_values("compound"),
    }
    return Plan(drawn, tables, truth_table(placed, ["compound", "concentration"]))


def _compounds_of_targets(count):
    """`count` compounds over the JUMP targets: identifier, target, mechanism, strength."""
    targets = list(designs.JUMP_TARGETS.items())
    made = []
    for i in range(count):
        target, mechanism = targets[i % len(targets)]
        strength = (0.95, 0.6, 0.35, 0.8)[i // len(targets) % 4]
        made.append(
            {
                "perturbation_id": f"JCP2022_{10007 + 1013 * i:06d}",
                "target": target,
                "mechanism": mechanism,
                "strength": strength,
            }
        )
    return made


_JUMP_DMSO = {"perturbation_id": "DMSO", "target": None, "strength": 0.0}


def jump(seed, field, sites, wells, plates, batches, effect, batch_effect):
    """The same compounds at every source, each with its own microscope."""
    wells, plates, sources = wells or 36, plates or 1, batches or 4
    dmso = max(16, wells // 6)
    treatments = [_JUMP_DMSO] * dmso + _compounds_of_targets(
        room_for_treatments(dmso, wells, "jumpcp-valset")
    )
    names = [f"source_{i}" for i in (3, 5, 8, 11, 2, 4, 6, 7, 9, 10)[:sources]]
    names += [f"source_{i}" for i in range(12, 12 + sources - len(names))]
    placed = plate_wells(
        seed,
        names,
        lambda source: [f"{source}_Target2_P{i + 1}" for i in range(plates)],
        lambda source, plate: treatments,
        Effects(seed, batch_effect, PAINTING),
        effect,
        batch_effect,
    )
    drawn, rows = [], []
    for well in placed:
        by_source = designs.generator(seed, "microscope", well["batch"])
        camera = Camera(
            gain=8 * float(np.exp(by_source.normal(0, 0.25 * batch_effect))),
            blur=0.8 * float(np.exp(by_source.normal(0, 0.15 * batch_effect))),
            offset=200 + 120 * float(by_source.random()) * batch_effect,
        )
        for s in range(1, sites + 1):
            batch = f"{well['batch']}_Batch1"
            file = f"images/{well['batch']}/{batch}/{well['plate']}/{well['well']}_s{s}.tiff"
            rows.append(
                {
                    "source": well["batch"],
                    "batch": batch,
                    "plate": well["plate"],
                    "well": well["well"],
                    "perturbation_id": well["perturbation_id"],
                    "target": well["target"],
                    "FileName_Merged": file,
                    "strong": well["strength"] >= 0.5,
                }
            )
            shape = (field, field)
            drawn.append(site_of(well, s, [file], PAINTING, cells.CellType(), camera, shape))
    table = pd.DataFrame(rows)
    active = table[table["strong"]].drop(columns=["strong", "target"])
    folder = "sources/dataload/JUMP_"
    tables = {
        f"{folder}valset_4sources.csv": table.drop(columns="strong"),
        f"{folder}trainset_4sources.csv": table.drop(columns=["strong", "target"]),
        f"{folder}trainset_4sources_active_only.csv": active,
    }
    return Plan(drawn, tables, truth_table(placed, ["perturbation_id", "target"]))


def example(seed, field, sites, wells, plates, batches, effect, batch_effect):
    """Plates of the JUMP-CP kind, the first named as the published example."""
    wells, plates, batches = wells or 32, plates or 1, batches or 1
    dmso = max(16, wells // 6)
    treatments = [_JUMP_DMSO] * dmso + _compounds_of_targets(
        room_for_treatments(dmso, wells, "example_data")
    )
    placed = plate_wells(
        seed,
        [f"Run{i + 1}" for i in range(batches)],
        lambda batch: [
            "JCPQC051" if batch == "Run1" and i == 0 else f"JCPQC{51 + 100 * int(batch[3:]) + i}"
            for i in range(plates)
        ],
        lambda batch, plate: treatments,
        Effects(seed, batch_effect, PAINTING),
        effect,
        batch_effect,
    )
    drawn, rows = [], []
    for well in placed:
        for s in range(1, sites + 1):
            file = f"{well['plate']}_{well['well']}_s{s}.tiff"
            names = ("batch", "plate", "well", "perturbation_id", "target")
            rows.append({name: well[name] for name in names} | {"path": file})
            shape = (field, field)
            files = [f"JCPQC051/{file}"]
            drawn.append(site_of(well, s, files, PAINTING, cells.CellType(), Camera(), shape))
    tables = {"example_metadata.csv": pd.DataFrame(rows)}
    return Plan(drawn, tables, truth_table(placed, ["perturbation_id", "target"]))


_SF9 = cells.CellType(radius=13.5, nucleus_radius=7.2, irregular=0.12, density=1250)


def insect(seed, field, sites, wells, plates, batches, effect, batch_effect):
    """Small round cells with insecticides; other batches are in the table without images."""
    wells, plates = wells or 45, plates or 2
    if batches not in (None, 1):
        raise ValueError(f"batches is {batches}; the published insect set has one, Batch3.")
    room = room_for_treatments(16, wells, "insect")
    compounds = [
        (f"CMPD-{100 + 3 * k + i}", moa, (1.0, 0.75, 0.5)[i])
        for i in range(3)
        for k, moa in enumerate(designs.INSECT_MOA)
    ]
    doses = []
    for i in range(room):
        name, moa, potency = compounds[i % len(compounds)]
        dose = (10.0, 2.5, 0.6, 40.0)[i // len(compounds) % 4]
        doses.append(
            {
                "perturbation_id": name,
                "MoA": moa,
                "mechanism": moa,
                "concentration": dose,
                "strength": potency * designs.hill(dose, 2.0),
            }
        )
    dmso = {"perturbation_id": "DMSO", "MoA": "DMSO", "concentration": 0.0, "strength": 0.0}
    placed = plate_wells(
        seed,
        ["Batch3"],
        lambda batch: [f"P{i + 1}" for i in range(plates)],
        lambda batch, plate: [dmso] * 16 + doses,
        Effects(seed, batch_effect, PAINTING),
        effect,
        batch_effect,
    )
    drawn, rows = [], []
    for well in placed:
        phenotype = cells.blend(designs.MECHANISMS.get(well.get("mechanism"), {}), well["strength"])
        expected = _SF9.density * field**2 / 1e6 * phenotype["count"] * well["changes"]["count"]
        for s in range(1, sites + 1):
            fov = f"r{well['row'] + 1:02d}c{well['column'] + 1:02d}f{s:02d}"
            names = ("batch", "plate", "well", "perturbation_id", "MoA", "concentration")
            row = {name: well[name] for name in names}
            row |= {"fov_id": fov, "cell_count": round(expected)}
            rows.append(row)
            if well["row"] == 0:
                rows.append(row | {"batch": "Batch1"})
            folder = f"images/Batch3/{well['plate']}/Images"
            files = [f"{folder}/{fov}p01-ch{i}sk1fk1fl1.tiff" for i in range(1, 6)]
            camera = Camera(gain=6, blur=0.7)
            drawn.append(site_of(well, s, files, PAINTING, _SF9, camera, (field, field)))
    table = pd.DataFrame(rows)
    tables = {"metadata_all_batches_sf9.csv": table}
    return Plan(drawn, tables, truth_table(placed, ["perturbation_id", "concentration"]))


_LINES = {
    "A549": cells.CellType(radius=26, nucleus_radius=10.5, irregular=0.5, density=420),
    "ES2": cells.CellType(radius=24, nucleus_radius=9.5, irregular=0.65, density=520),
    "HCC44": cells.CellType(radius=28, nucleus_radius=10, irregular=0.4, density=380),
}


def cell_health(seed, field, sites, wells, plates, batches, effect, batch_effect):
    """Guides against genes in three cell lines, one line a plate, and what other assays say."""
    wells, plates = wells or 78, plates or 1
    lines = list(_LINES)[: batches or 3]
    if (batches or 3) > len(_LINES):
        raise ValueError(f"batches is {batches}; Cell Health has the {len(_LINES)} cell lines.")
    negative = [
        {"gene_symbol": gene, "reagent_identifier": f"{gene}-{i}", "control_type": "negative"}
        for i in (1, 2, 3, 4)
        for gene in ("Chr2", "LacZ", "Luc", "RFP")
    ]
    empty = [{"control_type": "no reagent", "comment": "empty well"}] * 2
    room = room_for_treatments(len(negative) + len(empty), wells, "cell-health")
    guides = []
    for i in range(room):
        gene, mechanism = list(designs.GENES.items())[(i // 2) % len(designs.GENES)]
        number = 1 + i % 2 + 2 * (i // (2 * len(designs.GENES)))
        guides.append(
            {
                "gene_symbol": gene,
                "reagent_identifier": f"{gene}-{number}",
                "mechanism": mechanism,
                "strength": (0.9, 0.55)[i % 2],
            }
        )
    placed = plate_wells(
        seed,
        lines,
        lambda line: [f"SQ{14610 + 10 * list(_LINES).index(line) + i:08d}" for i in range(plates)],
        lambda line, plate: [*negative, *empty, *guides],
        Effects(seed, batch_effect, PAINTING),
        effect,
        batch_effect,
    )
    drawn, rows = [], []
    for well in placed:
        if well.get("control_type") == "no reagent":
            fewer = readouts.EMPTY_COUNT * well["changes"]["count"]
            well["changes"] = well["changes"] | {"count": fewer}
        for s in range(1, sites + 1):
            stem = f"r{well['row'] + 1:02d}c{well['column'] + 1:02d}f{s:02d}p01-ch"
            folder = f"idr0080/data/{well['plate']}/Images"
            files = [f"{folder}/{stem}{i}sk1fk1fl1.tiff" for i in range(1, 6)]
            rows.append(
                {
                    "plate": well["plate"],
                    "row": well["row"] + 1,
                    "column": well["column"] + 1,
                    "field": s,
                    "well": well["well"],
                    "cell_line": well["batch"],
                    "reagent_identifier": well.get("reagent_identifier"),
                    "gene_symbol": well.get("gene_symbol"),
                    "control_type": well.get("control_type"),
                    "comment": well.get("comment"),
                }
            )
            shape = (field, field)
            kind = _LINES[well["batch"]]
            drawn.append(site_of(well, s, files, PAINTING, kind, Camera(), shape))
    extra = ["gene_symbol", "reagent_identifier"]
    measured = readouts.table(seed, [{"cell_line": well["batch"], **well} for well in placed])
    tables = {"metadata.csv": pd.DataFrame(rows), "cell_health_median.tsv": measured}
    return Plan(drawn, tables, truth_table(placed, extra))


def hpa(seed, field, sites, wells, plates, batches, effect, batch_effect):
    """Single images; the green channel shows a protein at its localisation."""
    count = (wells or 110) * sites
    if plates is not None or batches is not None:
        raise ValueError("HPA has no plates or batches: set wells, the number of images.")
    labels = list(designs.LOCALISATIONS)
    drawn, rows, truth = [], [], []
    for i in range(count):
        rng = designs.generator(seed, "hpa", i)
        name = "-".join(guid(seed, "hpa", i).lower().split("-"))
        label = labels[i % len(labels)]
        other = labels[int(rng.integers(len(labels)))]
        both = [label] if rng.random() < 0.75 or other == label else [label, other]
        line = designs.CELL_LINES[int(rng.integers(len(designs.CELL_LINES)))]
        trained = i % 12 != 11
        rows.append(
            {
                "Image": f"train_images/{name}",
                "Label": "|".join(both),
                "Label_idx": "|".join(str(designs.LOCALISATIONS[part]) for part in both),
                "Cellline": line,
                "in_trainset": trained,
            }
        )
        truth.append({"image": name, "cell_line": line, "label": "|".join(both)})
        if not trained:
            continue
        by_line = designs.generator(seed, "line", line)
        kind = cells.CellType(
            radius=float(by_line.uniform(20, 30)),
            nucleus_radius=float(by_line.uniform(8.5, 11.5)),
            irregular=float(by_line.uniform(0.15, 0.65)),
            density=float(by_line.uniform(300, 600)),
        )
        side = round(field * 1.28) if i % 10 == 5 else field
        gains = np.exp(rng.normal(0, 0.15 * batch_effect, 4)).tolist()
        camera = Camera(bits=8, offset=4, read_noise=1.2, electrons=400, gain=0.3, haze=0.12)
        # An effect of 0 plants nothing: every protein looks like the cytosol.
        protein = label if effect > 0 else "Cytosol"
        stains = ["dna", "tubulin", protein, "er"]
        files = [f"images/{name}_{c}.tif" for c in ("blue", "red", "green", "yellow")]
        drawn.append(
            Site(files, stains, f"hpa|{i}", None, 0.0, kind, camera, (side, side), {}, gains)
        )
    return Plan(drawn, {"kaggle_2021.tsv": pd.DataFrame(rows)}, pd.DataFrame(truth))


def bbbc037(seed, field, sites, wells, plates, batches, effect, batch_effect):
    """Over-expressed genes on plates that are listed twice, as at the IDR."""
    wells, plates, batches = wells or 40, plates or 2, batches or 1
    room = room_for_treatments(16, wells, "BBBC037")
    genes = []
    for i in range(room):
        gene, (moa, mechanism) = list(designs.ORFS.items())[i % len(designs.ORFS)]
        strength = (0.85, 0.5, 0.2)[i // len(designs.ORFS) % 3]
        genes.append(
            {
                "gene_symbol": gene,
                "orf_identifier": f"BRDN{464846 + i:010d}",
                "moa": moa,
                "mechanism": mechanism,
                "strength": strength,
                "has_phenotype": "yes" if strength >= 0.4 else "no",
            }
        )
    placed = plate_wells(
        seed,
        list(range(batches)),
        lambda batch: [41744 + 5 * (plates * batch + i) for i in range(plates)],
        lambda batch, plate: [{"strength": 0.0}] * 16 + genes,
        Effects(seed, batch_effect, PAINTING),
        effect,
        batch_effect,
    )
    channels = ("Hoechst", "ERSyto", "ERSytoBleed", "PhGolgi", "Mito")
    shape = (field, round(field * 696 / 520))
    drawn, paths, notes = [], [], []
    for well in placed:
        number = well["row"] * 24 + well["column"] + 1
        note = {
            "Well Number": number,
            "Well": well["well"].lower(),
            "Gene Symbol": well.get("gene_symbol"),
            "Has Phenotype": well.get("has_phenotype"),
            "ORF Identifier": well.get("orf_identifier"),
        }
        notes += [{"Plate": f"{well['plate']}{end}", **note} for end in ("", "_illum_corrected")]
        for s in range(1, sites + 1):
            stem = f"taoe005-u2os-72h-cp-a-au00{well['plate']}_{well['well'].lower()}_s{s}_w"
            names = [f"{stem}{i}.tif" for i in range(1, 6)]
            row = {"PlateNumber": well["plate"], "WellNumber": number}
            paths.append(row | {f"ImagePath_{c}": n for c, n in zip(channels, names, strict=True)})
            folder = f"gene_overexpression/images_illum_corrected/{well['plate']}"
            files = [f"{folder}/{name}" for name in names]
            drawn.append(site_of(well, s, files, PAINTING, cells.CellType(), Camera(), shape))
    truth = pd.DataFrame(genes)[["orf_identifier", "moa"]].drop_duplicates()
    truth.columns = ["Metadata_broad_sample", "Metadata_moa"]
    idr = "gene_overexpression/idr0033-rohban-pathways"
    tables = {
        "BBBC037_image_path.csv": pd.DataFrame(paths),
        "BBBC037_v1_DatasetGroundTruth.csv": truth,
        f"{idr}/screens/idr0033-screenA-annotation.csv": pd.DataFrame(notes),
    }
    return Plan(drawn, tables, truth_table(placed, ["gene_symbol", "orf_identifier"]))
