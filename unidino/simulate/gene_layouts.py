"""Plans of the simulated sets of genes and proteins: Cell Health, HPA, BBBC037."""

import numpy as np
import pandas as pd

from . import cells, designs
from .camera import Camera
from .layouts import (
    PAINTING,
    Effects,
    Plan,
    Site,
    generator,
    guid,
    plate_wells,
    room_for_treatments,
    site_of,
    truth_table,
)

_LINES = {
    "A549": cells.CellType(radius=26, nucleus_radius=10.5, irregular=0.5, density=420),
    "ES2": cells.CellType(radius=24, nucleus_radius=9.5, irregular=0.65, density=520),
    "HCC44": cells.CellType(radius=28, nucleus_radius=10, irregular=0.4, density=380),
}


def cell_health(seed, field, sites, wells, plates, batches, effect, batch_effect):
    """Guides against genes in three cell lines, one line a plate."""
    wells, plates = wells or 36, plates or 1
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
            well["changes"] = well["changes"] | {"count": 0.02 * well["changes"]["count"]}
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
    return Plan(drawn, {"metadata.csv": pd.DataFrame(rows)}, truth_table(placed, extra))


def hpa(seed, field, sites, wells, plates, batches, effect, batch_effect):
    """Single images; the green channel shows a protein at its localisation."""
    count = (wells or 110) * sites
    if plates is not None or batches is not None:
        raise ValueError("HPA has no plates or batches: set wells, the number of images.")
    labels = list(designs.LOCALISATIONS)
    drawn, rows, truth = [], [], []
    for i in range(count):
        rng = generator(seed, "hpa", i)
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
        by_line = generator(seed, "line", line)
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
