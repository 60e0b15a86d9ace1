"""Plans of the simulated sets of compounds: BBBC021, JUMP-CP, its example plate, insect cells."""

import numpy as np
import pandas as pd

from . import cells, designs
from .camera import Camera
from .layouts import (
    PAINTING,
    Effects,
    Plan,
    generator,
    guid,
    plate_wells,
    room_for_treatments,
    site_of,
    truth_table,
)


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
            half = (0.1, 0.3, 1.0, 3.0)[int(generator(seed, "half", compound).integers(4))]
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
        by_source = generator(seed, "microscope", well["batch"])
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
