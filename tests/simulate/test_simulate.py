"""Simulated datasets: same bytes again, real layouts, and effects that are really planted."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from unidino import dataset, paths, simulate, valsets
from unidino.simulate import cells, datasets, designs, example_plate, layouts, microscope, worlds

SMALL = {"field": 48, "workers": 1}
WELLS = {
    "BBBC021": 27,
    "jumpcp-valset": 20,
    "example_data": 20,
    "cell-health": 22,
    "HPA": 14,
    "BBBC037": 20,
    "insect": 20,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """All datasets, small."""
    folder = tmp_path_factory.mktemp("simulated")
    simulate.simulate("worlds", folder, field=32, sites=1, workers=1)
    for valset, wells in WELLS.items():
        options = {} if valset == "HPA" else {"plates": 1}
        if valset not in ("HPA", "insect", "cell-health"):
            options["batches"] = 2
        simulate.simulate(valset, folder, wells=wells, **options, **SMALL)
    return folder


def contents(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_same_bytes_whatever_the_workers(root, tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        simulate.simulate("insect", tmp_path / name, wells=18, plates=1, field=64, workers=workers)
    one, two = (contents(tmp_path / name) for name in ("one", "two"))
    assert one == two
    simulate.simulate("insect", tmp_path / "other", wells=18, plates=1, field=64, seed=1)
    other = contents(tmp_path / "other")
    images = [name for name in one if name.endswith(".tiff")]
    assert images
    assert all(one[name] != other.get(name) for name in images)


@pytest.mark.parametrize("valset", simulate.LAYOUTS)
def test_real_layout_reads_with_its_class(valset, root):
    metadata = valsets.VALSETS[valset](root=root)
    assert metadata.simulated
    frame = metadata.metadata
    image = dataset.load_site(metadata, 0)
    assert image.shape[0] == len(metadata.channels)
    assert min(image.shape[1:]) == (32 if valset == "worlds" else 48)
    assert image.dtype == (np.uint8 if valset == "HPA" else np.uint16)
    assert set(metadata.inference_metadata_columns) <= set(frame.columns)
    if valset == "HPA":
        assert metadata.well_columns == []
        return
    assert {"plate", "well"} <= set(metadata.well_columns)
    controls = frame[frame["control_type"] == "negcon"].groupby("plate").size()
    assert (controls >= {"BBBC021": 6, "worlds": 5}.get(valset, 16)).all()
    assert frame["control_type"].isna().any()


@pytest.mark.parametrize(
    ("valset", "ratio"), [("BBBC021", 1280 / 1024), ("BBBC037", 696 / 520), ("insect", 1)]
)
def test_fields_keep_the_real_aspect(valset, ratio, root):
    _, height, width = dataset.load_site(valsets.VALSETS[valset](root=root), 0).shape
    assert width / height == pytest.approx(ratio, abs=0.01)


def test_hpa_has_two_sizes_and_rows_without_images(root):
    metadata = valsets.HPAMetadata(root=root)
    sides = {dataset.load_site(metadata, i).shape[1] for i in range(len(metadata.metadata))}
    assert len(sides) == 2
    table = pd.read_csv(root / "HPA" / "kaggle_2021.tsv")
    assert len(metadata.metadata) == table["in_trainset"].sum() < len(table)


def test_hpa_plants_images_of_antibodies():
    plan = layouts.hpa(0, 64, 1, None, None, None, 1.0, 1.0)
    table = plan.tables["kaggle_2021.tsv"]
    antibody = table["Image"].str.split("/").str[-2]
    assert (antibody == plan.truth["antibody"]).all()
    shown = table[table["in_trainset"]]
    # At most twice the 101 images of 224 pixels that the set once had.
    assert len(shown) == len(plan.sites) <= 202
    images = shown.groupby(antibody).size()
    assert images.between(2, 3).all()
    assert (table.groupby(antibody)["Label"].nunique() == 1).all()
    labels = table.assign(antibody=antibody, part=table["Label"].str.split("|")).explode("part")
    several = labels.groupby("part")["antibody"].nunique()
    assert (several.drop("Aggresome") >= 5).all()
    assert several["Aggresome"] < 5
    count = labels.groupby("antibody")["part"].nunique()
    assert set(count) == {1, 2}
    assert (table.groupby(antibody)["Cellline"].first() == "U-2 OS").all()
    assert set(table["Cellline"]) == set(designs.CELL_LINES)


def test_hpa_draws_what_an_antibody_binds():
    truth = layouts.hpa(0, 64, 1, None, None, None, 1.0, 1.0).truth
    shares = truth[list(designs.LOCALISATIONS)]
    for _, row in truth.iterrows():
        labels = row["label"].split("|")
        assert row[labels].sum() == pytest.approx(1, abs=1e-3)
        besides = row[[name for name in shares if name not in labels]]
        assert (besides > 0).sum() <= 1
        assert besides.sum() < 0.3
        assert len(labels) == 1 or row[labels[0]] >= row[labels[1]]
    assert (truth.groupby("antibody")[list(shares)].nunique() == 1).all(axis=None)
    assert truth["brightness"].std() > 0.1
    nothing = layouts.hpa(0, 64, 1, 12, None, None, 0.0, 0.0).truth
    assert (nothing["Cytosol"] == 1).all()
    assert (nothing[list(designs.LOCALISATIONS)].sum(axis=1) == 1).all()
    assert (nothing["brightness"] == 1).all()


def test_a_channel_shows_several_stains_by_their_shares():
    site = layouts.hpa(0, 96, 1, 3, None, None, 1.0, 0.0).sites[0]
    site.gains = [1.0] * 4

    def green(stain):
        site.stains[2] = stain
        return datasets.draw(site, 0)[2].astype(float).mean()

    dark = green({"Cytosol": 0.0})
    nuclei, both = green({"Nucleoplasm": 1.0}) - dark, green({"Nucleoplasm": 0.5}) - dark
    assert both == pytest.approx(nuclei / 2, rel=0.1)
    mixed = green({"Nucleoplasm": 0.5, "Cytosol": 0.5}) - dark
    assert mixed > both
    assert green("Nucleoplasm") == green({"Nucleoplasm": 1.0})


def test_bbbc021_values_are_12_bit_shifted(root):
    image = dataset.load_site(valsets.BBBC021Metadata(root=root), 0)
    assert (image % 16 == 0).all()


def test_bbbc021_moa_lie_in_the_batches_of_the_real_set(root):
    frame = valsets.BBBC021Metadata(root=root).metadata
    treated = frame[frame["control_type"].isna()].dropna(subset="moa")
    batches = treated.groupby("moa")["batch"].nunique()
    assert (batches[list(designs.ONE_BATCH_MOA)] == 1).all()
    assert (batches.drop(list(designs.ONE_BATCH_MOA)) > 1).mean() > 0.8
    assert treated["moa"].nunique() == 12
    assert "UNKNOWN" not in set(frame["compound"])


def test_bbbc037_holds_classes_constructs_and_replicates():
    """Enough to ask for replicates, for constructs of a gene and for genes of a class."""
    plan = layouts.bbbc037(0, 64, 1, None, None, None, 1.0, 1.0)
    truth = plan.tables["BBBC037_v1_DatasetGroundTruth.csv"].set_index("Metadata_broad_sample")
    planted = plan.truth.dropna(subset="orf_identifier")
    planted = planted.assign(moa=planted["orf_identifier"].map(truth["Metadata_moa"]))
    assert (planted.groupby("moa")["gene_symbol"].nunique() == 4).all()
    assert planted["moa"].nunique() == 6
    assert planted.groupby("moa")["mechanism"].nunique().eq(1).all()
    constructs = planted.drop_duplicates("orf_identifier")
    assert constructs["gene_symbol"].value_counts().value_counts().to_dict() == {1: 11, 2: 13}
    assert planted["orf_identifier"].value_counts().eq(3).all()
    assert planted.groupby("orf_identifier")["well"].nunique().gt(1).all()
    first, second = (constructs[constructs["gene_symbol"] == "RHOA"]["strength"]).tolist()
    assert second == pytest.approx(0.8 * first)
    notes = plan.tables[
        "gene_overexpression/idr0033-rohban-pathways/screens/idr0033-screenA-annotation.csv"
    ].dropna(subset="ORF Identifier")
    has = notes.groupby("ORF Identifier")["Has Phenotype"].first() == "yes"
    strength = planted.groupby("orf_identifier")["strength"].first()
    pd.testing.assert_series_equal(has, strength > 0, check_names=False)


def test_training_tables(root):
    metadata = valsets.JUMPCPMetadata(root=root, training_set=True)
    assert (metadata.metadata["perturbation_id"] == "DMSO").any()
    plan = layouts.jump(0, 64, 1, 60, 1, 1, 1.0, 1.0)
    compounds = plan.truth.groupby("target")["perturbation_id"].nunique()
    assert (compounds >= 5).all()
    assert len(compounds) == 8
    folder = "sources/dataload/JUMP_trainset_4sources"
    everything, active = (plan.tables[f"{folder}{end}.csv"] for end in ("", "_active_only"))
    strong = plan.truth.loc[plan.truth["strength"] >= 0.5, "perturbation_id"]
    assert set(active["perturbation_id"]) == set(strong)
    assert 0 < len(active) < len(everything) == 60


def test_insect_takes_one_batch(root):
    table = pd.read_csv(root / "picasso-monheim" / "metadata_all_batches_sf9.csv")
    assert set(table["batch"]) == {"Batch1", "Batch3"}
    assert set(valsets.InsectMetadata(root=root).metadata["batch"]) == {"Batch3"}


def nuclei(image):
    """(number, median area) of the bright objects of a nuclear stain."""
    smooth = ndimage.gaussian_filter(image.astype(float), 1.5)
    mask = smooth > (np.percentile(smooth, 5) + smooth.max()) / 2.6
    label, count = ndimage.label(mask)
    areas = ndimage.sum_labels(mask, label, np.arange(1, count + 1))
    areas = areas[areas > 40]
    return len(areas), np.median(areas) if len(areas) else 0


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_planted_effects_show_in_the_images(strength):
    def fields(mechanism, seed):
        phenotype = cells.blend(designs.MECHANISMS[mechanism], strength)
        rng = np.random.default_rng(seed)
        drawn = cells.Field(rng, (256, 256), cells.CellType(), phenotype)
        return microscope.photograph(rng, drawn.stain("dna"), microscope.Camera())

    treated = np.array([nuclei(fields("DNA damage", i)) for i in range(12)])
    normal = np.array([nuclei(fields("Acetylcholinesterase inhibitor", 90 + i)) for i in range(12)])
    fewer, larger = treated.mean(0) / normal.mean(0)
    if strength:
        assert fewer < 0.8
        assert larger > 1.2
    else:
        assert fewer == pytest.approx(1, abs=0.25)
        assert larger == pytest.approx(1, abs=0.15)


def test_factors_of_nothing_plant_nothing(tmp_path):
    simulate.simulate(
        "example_data", tmp_path, wells=20, field=64, effect=0, batch_effect=0, workers=1
    )
    truth = simulate.planted_truth("example_data", tmp_path)
    assert (truth["strength"] == 0).all()
    assert (truth["mean_gain"] == 1).all()
    assert (truth["count_factor"] == 1).all()


def test_truth_has_every_well(root):
    truth = simulate.planted_truth("BBBC021", root)
    frame = valsets.BBBC021Metadata(root=root).metadata
    assert set(map(tuple, frame[["plate", "well"]].to_numpy())) <= set(
        map(tuple, truth[["plate", "well"]].to_numpy())
    )
    assert truth["strength"].between(0, 1).all()
    assert truth["mean_gain"].nunique() > 10


@pytest.mark.parametrize("stain", cells.STAINS)
def test_stains_are_bright_where_cells_are(stain):
    rng = np.random.default_rng(3)
    field = cells.Field(rng, (160, 200), cells.CellType(), cells.blend({}, 0))
    brightness = field.stain(stain)
    assert brightness.dtype == np.float32
    assert np.isfinite(brightness).all()
    assert brightness.min() >= 0
    assert brightness[field.body].mean() > 4 * brightness[~field.body].mean() + 0.01


def test_fields_without_cells_are_noise():
    rng = np.random.default_rng(4)
    field = cells.Field(rng, (64, 64), cells.CellType(density=1e-9), cells.blend({}, 0))
    if field.cells == 0:
        assert not field.stain("actin").any()
    stored = microscope.photograph(rng, np.zeros((64, 64)), microscope.Camera())
    assert stored.mean() == pytest.approx(200 + 0.03 * 900 * 8 * 0.9, rel=0.1)
    assert stored.std() < 60


def test_style_of_ones_is_the_usual_look():
    for stain in cells.STAINS:
        usual, ones = (
            cells.Field(np.random.default_rng(7), (80, 90), cells.CellType(), cells.blend({}, 0), s)
            for s in (cells.USUAL, cells.Style(*[1.0] * 6, diffuse=0.0))
        )
        same = cells.Style(1, 1, 1, 1, 1, 1, 0)
        np.testing.assert_array_equal(usual.stain(stain), ones.stain(stain, same))


def drawn(valset="insect", mechanisms="published", rendering=0, seed=3):
    """(sites, images) of a small plan."""
    plan = datasets.LAYOUTS[valset](seed, 64, 1, 20, 1, 1, 1.0, 1.0)
    return plan.sites, [simulate.draw(s, seed, mechanisms, rendering) for s in plan.sites]


def test_random_mechanisms_replace_the_published_ones_only():
    sites, published = drawn()
    _, usual = drawn(mechanisms="published", rendering=0)
    _, random = drawn(mechanisms="random")
    _, again = drawn(mechanisms="random")
    treated = [site.mechanism is not None for site in sites]
    assert 0 < sum(treated) < len(treated)
    for i, is_treated in enumerate(treated):
        np.testing.assert_array_equal(published[i], usual[i])
        np.testing.assert_array_equal(random[i], again[i])
        assert np.array_equal(published[i], random[i]) != is_treated


def test_random_phenotypes_are_many_and_follow_from_names():
    draws = [
        layouts.random_phenotype(seed, mechanism, treatment)
        for seed in (1, 2)
        for mechanism in designs.MECHANISMS
        for treatment in ("a", "b")
    ]
    assert draws[0] == layouts.random_phenotype(1, next(iter(designs.MECHANISMS)), "a")
    assert len({tuple(sorted(one.items())) for one in draws}) == len(draws)
    assert {len(one) for one in draws} == {3, 4, 5, 6, 7}
    assert set().union(*draws) == set(cells.NORMAL) == {*designs.LIMITS, *cells.SHARES}
    for one in draws:
        assert one not in designs.MECHANISMS.values()
        for name, value in one.items():
            low, high = designs.LIMITS.get(name, (0, 0.4))
            assert low <= value <= high
            assert name in cells.SHARES or abs(np.log(value)) > 0.29


def test_renderings_change_every_stain_and_the_shapes():
    styles = {(r, s): microscope.style(r, s) for r in (1, 2, -1) for s in (*cells.STAINS, "shapes")}
    assert len(set(styles.values())) == len(styles)
    assert styles[1, "dna"] == microscope.style(1, "dna")
    assert microscope.style(0, "dna") == cells.USUAL
    for number in range(1, 40):
        kind, usual = microscope.cell_type(number, cells.CellType()), cells.CellType()
        for name in ("radius", "nucleus_radius"):
            low, high = microscope.RENDERING_SCALES
            assert low <= getattr(kind, name) / getattr(usual, name) <= high
        assert kind.nucleus_radius < 0.65 * kind.radius
    assert microscope.cell_type(0, usual) is usual
    assert microscope.camera(0, microscope.Camera(), "dna") == microscope.Camera()
    assert microscope.camera(1, microscope.Camera(), "dna") != microscope.camera(
        1, microscope.Camera(), "rna"
    )
    _, usual = drawn()
    _, one = drawn(rendering=1)
    _, other = drawn(rendering=2)
    for a, b, c in zip(usual, one, other, strict=True):
        assert not np.array_equal(a, b)
        assert not np.array_equal(b, c)


@pytest.mark.parametrize("rendering", [1, 5, 12])
def test_renderings_are_still_cells(rendering):
    for stain in cells.STAINS:
        kind = microscope.cell_type(rendering, cells.CellType())
        shapes = microscope.style(rendering, "shapes")
        field = cells.Field(np.random.default_rng(3), (160, 200), kind, cells.blend({}, 0), shapes)
        brightness = field.stain(stain, microscope.style(rendering, stain))
        assert brightness.dtype == np.float32
        assert np.isfinite(brightness).all()
        assert brightness.min() >= 0
        assert brightness[field.body].mean() > 4 * brightness[~field.body].mean() + 0.005


def test_mechanisms_and_rendering_are_recorded_and_truth_stays(tmp_path):
    options = {"wells": 18, "plates": 1, "field": 48, "workers": 1}
    simulate.ensure("insect", tmp_path / "usual", **options)
    look = {"mechanisms": "random", "rendering": 4}
    folder = simulate.ensure("insect", tmp_path / "other", **options, **look)
    recorded = json.loads((folder / simulate.MARKER).read_text())["parameters"]
    assert {name: recorded[name] for name in look} == look
    one, other = (simulate.planted_truth("insect", tmp_path / n) for n in ("usual", "other"))
    pd.testing.assert_frame_equal(one, other)
    made = (folder / simulate.MARKER).stat().st_mtime_ns
    simulate.ensure("insect", tmp_path / "other", **options, **look)
    assert (folder / simulate.MARKER).stat().st_mtime_ns == made
    simulate.ensure("insect", tmp_path / "other", **options, **look | {"rendering": 5})
    assert (folder / simulate.MARKER).stat().st_mtime_ns != made


def test_ensure_keeps_what_is_current_and_renews_the_rest(tmp_path, monkeypatch):
    options = {"wells": 18, "plates": 1, "field": 48, "workers": 1}
    folder = simulate.ensure("insect", tmp_path, **options)
    marker = folder / simulate.MARKER
    made = marker.stat().st_mtime_ns
    assert simulate.ensure("insect", tmp_path) == folder
    assert simulate.ensure("insect", tmp_path, **options) == folder
    assert marker.stat().st_mtime_ns == made
    simulate.ensure("insect", tmp_path, **options | {"seed": 5})
    assert json.loads(marker.read_text())["parameters"]["seed"] == 5
    monkeypatch.setattr(datasets, "fingerprint", lambda: "other code")
    simulate.ensure("insect", tmp_path, workers=1)
    renewed = json.loads(marker.read_text())
    assert renewed["simulator"] == "other code"
    assert renewed["parameters"]["seed"] == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["picasso-monheim"]


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "HPA").mkdir()
    with pytest.raises(FileExistsError, match="holds a dataset that is not simulated"):
        simulate.ensure("HPA", tmp_path)
    with pytest.raises(FileExistsError, match="HPA exists; simulate into another root"):
        simulate.simulate("HPA", tmp_path)
    with pytest.raises(FileNotFoundError, match="is not simulated: it has no planted_truth.csv"):
        simulate.planted_truth("HPA", tmp_path)


@pytest.mark.parametrize(
    ("valset", "options", "message"),
    [
        ("HAP", {}, "valset 'HAP' is not one of"),
        ("HPA", {"plates": 2}, "HPA has no plates or batches"),
        ("insect", {"wells": 16}, "wells is 16; insect needs more than its 16 controls"),
        ("insect", {"wells": 9999}, "wells is 9999; a plate has at most 1536"),
        ("insect", {"batches": 3}, "batches is 3; the published insect set has one"),
        ("cell-health", {"batches": 4}, "batches is 4; Cell Health has the 3 cell lines"),
        ("worlds", {"wells": 20}, "the worlds have plates of their own: leave wells, plates and"),
        ("insect", {"field": 0}, "field is 0; it must be above 0"),
        ("insect", {"effect": -1.0}, "effect is -1.0; it must be 0 or more"),
        ("insect", {"mechanisms": "rand"}, "mechanisms 'rand' is not one of published, random"),
        ("insect", {"rendering": 1.5}, "rendering is 1.5; it must be a whole number"),
        ("insect", {"rendering": True}, "rendering is True; it must be a whole number"),
    ],
)
def test_mistakes_are_named(valset, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        simulate.simulate(valset, tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_large_plates_have_room(tmp_path):
    plan = layouts.bbbc021(0, 64, 2, 384, 3, 10, 1.0, 1.0)
    wells = plan.truth.groupby("plate").size()
    assert len(wells) == 30
    assert wells.max() <= 384
    assert len(plan.sites) == 2 * len(plan.truth)


def treatments(plan):
    """Who stands where: (plate, well) -> compound and dose."""
    names = [n for n in ("compound", "perturbation_id", "concentration") if n in plan.truth]
    return plan.truth.set_index(["plate", "well"])[names].astype(str).agg(" ".join, axis=1)


def test_replicates_keep_their_positions_or_do_not():
    fixed = treatments(layouts.bbbc021(0, 64, 1, None, None, None, 1.0, 1.0)).unstack("plate")
    weeks = fixed.T.groupby(lambda plate: plate.split("_")[0])
    assert [len(plates) for _, plates in weeks] == [3, 3, 3]
    for _, plates in weeks:
        assert (plates.nunique() == 1).all()
    assert fixed.T.drop_duplicates().shape[0] == 3
    random = treatments(layouts.jump(0, 64, 1, None, None, None, 1.0, 1.0)).unstack("plate")
    assert (random.nunique(axis=1) > 1).mean() > 0.8


def test_positions_of_a_plate():
    wells = [{"compound": str(i)} for i in range(20)]
    plates = [("layout", "a", "p"), ("layout", "a", "q"), ("layout", "b", "p")]
    one, same, other = (layouts.lay_out(0, names, wells, "fixed") for names in plates)
    assert one == same != other
    one, other = (layouts.lay_out(0, names, wells) for names in plates[:2])
    assert one != other
    assert {well["well"] for well in one} == {well["well"] for well in other}
    with pytest.raises(ValueError, match="positions 'fix' is not one of random, fixed"):
        layouts.lay_out(0, plates[0], wells, "fix")


@pytest.mark.parametrize("stain", cells.STAINS)
def test_stains_that_a_parameter_changes_are_those_that_look_different(stain):
    def brightness(**changes):
        phenotype = cells.NORMAL | changes
        field = cells.Field(np.random.default_rng(5), (96, 96), cells.CellType(), phenotype)
        return field.stain(stain)

    usual = brightness()
    for name in cells.NORMAL:
        changed = not np.array_equal(
            usual, brightness(**{name: 0.5 if name in cells.SHARES else 1.7})
        )
        assert cells.changed_stains([name], [stain]) == ([stain] if changed else []), name


def test_truth_names_the_stains_of_each_mechanism(root):
    truth = simulate.planted_truth("cell-health", root)
    treated = truth[truth["strength"] > 0]
    assert (treated["stains"] == "|".join(layouts.PAINTING)).all()
    assert truth.loc[truth["strength"] == 0, "stains"].isna().all()
    assert layouts.stains_of("Golgi dispersal", layouts.PAINTING) == "er|agp"
    assert layouts.stains_of("Mitochondrial uncoupler", ("dna", "mito")) == "dna|mito"
    assert layouts.stains_of(None, ("dna",)) is None


def test_cell_lines_have_a_texture_of_their_own():
    lines = {line: microscope.style(0, "Microtubules", line) for line in designs.CELL_LINES}
    assert len(set(lines.values())) == len(designs.CELL_LINES)
    assert cells.USUAL not in lines.values()
    assert microscope.style(3, "dna", "MCF7") != microscope.style(3, "dna")
    kinds = {site.cell_type.line for site in layouts.hpa(0, 64, 1, 60, None, None, 1, 1).sites}
    assert kinds <= set(designs.CELL_LINES)
    assert len(kinds) > 10
    plan = layouts.bbbc021(0, 64, 1, 24, 1, 1, 1.0, 1.0)
    assert {site.cell_type.line for site in plan.sites} == {"MCF7"}


def test_clumps_are_squeezed_and_thicker():
    def field(clumps):
        kind = cells.CellType(density=150, clumps=clumps)
        return cells.Field(np.random.default_rng(2), (256, 256), kind, cells.blend({}, 0))

    def nearest(drawn):
        gaps = np.hypot(*(drawn.centres[:, None] - drawn.centres).T)
        return (gaps + 1e9 * np.eye(len(gaps))).min(0)

    least = 2.1 * cells.CellType().nucleus_radius
    assert (nearest(field(0)) > least).all()
    assert (field(0).thickness == 1).all()
    piled = field(60)
    assert (nearest(piled) < least).sum() > 4
    assert (piled.thickness > 1).sum() >= (nearest(piled) < least).sum() / 2
    assert piled.thickness.min() == 1


def test_debris_is_seen_in_every_stain():
    made = [microscope.debris(np.random.default_rng(i), (160, 160)) for i in range(60)]
    drawn = [one for one in made if one is not None]
    assert 0 < len(drawn) < 20
    for one in drawn:
        assert one.shape == (160, 160)
        assert one.min() >= 0
        assert one.max() > 0.5


def test_sizes_are_the_datasets_own_unless_given(root, tmp_path):
    recorded = json.loads((root / "worlds" / simulate.MARKER).read_text())["parameters"]
    assert (recorded["field"], recorded["sites"]) == (32, 1)
    assert datasets._sized("worlds", {"sites": None}) == {"field": 112, "sites": 2}
    assert datasets._sized("HPA", {"field": 50}) == {"field": 50, "sites": 1}
    made = (root / "worlds" / simulate.MARKER).stat().st_mtime_ns
    assert simulate.ensure("worlds", root, workers=1) == root / "worlds"
    assert (root / "worlds" / simulate.MARKER).stat().st_mtime_ns == made
    plan = worlds.plan(0, 64, 2, None, None, None, 1.0, 1.0)
    assert len(plan.sites) == 2 * len(plan.truth)


@pytest.fixture(scope="module")
def planted():
    """(sites by world, truth) of the worlds."""
    plan = worlds.plan(0, 160, 1, None, None, None, 1.0, 1.0)
    truth = plan.truth.assign(site=plan.sites)
    return {name: part for name, part in truth.groupby("world", sort=False)}


def controls(part):
    return part["mechanism"].isna()


def test_worlds_are_all_there_with_five_compounds_a_mechanism(planted):
    assert list(planted) == [world.name for world in worlds.all_worlds()]
    for name in set(planted) - {"fixed positions", "random positions"}:
        compounds = planted[name].groupby("moa")["compound"].nunique()
        assert (compounds >= 5).all()
    sweep = planted["sweep"]
    assert sorted(sweep["strength"].unique()) == [0, *worlds.STRENGTHS]
    treated = sweep[~controls(sweep)]
    replicates = treated.groupby(["compound", "strength"])["well"].agg(["size", "nunique"])
    assert (replicates["size"] == 2).all()
    assert (replicates["nunique"] == 2).mean() > 0.9


@pytest.mark.parametrize("name", ["no mechanism", "batch", "confounded", "fixed positions"])
def test_worlds_without_mechanism_change_nothing_by_label(planted, name):
    part = planted[name]
    assert (part["strength"] == 0).all()
    assert part["stains"].isna().all()
    assert {site.strength for site in part["site"]} == {0.0}
    # Wells of a batch differ by their place alone: the label is in no parameter.
    inner = [site for site in part["site"][~controls(part)] if site.changes["count"] > 0]
    by_batch = {}
    for site in inner:
        key = (site.name.split("|")[0], tuple(np.round(site.gains, 9)))
        by_batch.setdefault(key[0], set()).add(len(site.changes))
    assert all(len(kinds) == 1 for kinds in by_batch.values())


def test_world_without_batch_effect_has_none(planted):
    part = planted["no batch"]
    assert (part["mean_gain"] == 1).all()
    assert {tuple(site.gains) for site in part["site"]} == {(1.0, 1.0, 1.0)}
    own = [site.changes for site in part["site"][controls(part)]]
    assert all(set(changes.values()) == {1.0} for changes in own)
    assert part.loc[~controls(part), "strength"].min() > 0
    assert (planted["no mechanism"]["mean_gain"] != 1).all()


def test_batches_of_the_batch_world_share_labels_and_an_effect_on_treated_wells(planted):
    part = planted["batch"]
    treated = part[~controls(part)]
    counts = treated.groupby(["batch", "moa"]).size().unstack(fill_value=0)
    assert (counts.max(axis=1) == 5).all()
    assert (treated.groupby("moa")["batch"].nunique() == 2).all()
    for _, own in part.groupby("batch"):
        areas = {site.changes.get("cell_area", 1.0) for site in own["site"][~controls(own)]}
        untouched = {site.changes["cell_area"] for site in own["site"][controls(own)]}
        assert len(areas) == 1
        assert areas.isdisjoint(untouched)
        assert untouched == {1.0}


def test_confounded_world_is_confounded(planted):
    part = planted["confounded"]
    treated = part[~controls(part)]
    assert (treated.groupby("moa")["batch"].nunique() == 1).all()
    assert (treated.groupby("batch")["moa"].nunique() == 1).all()
    assert treated["batch"].nunique() == 3


def test_positions_are_fixed_in_one_world_and_random_in_the_other(planted):
    places = {}
    for name in ("fixed positions", "random positions"):
        part = planted[name]
        treated = part[~controls(part)]
        places[name] = treated.groupby("compound")["well"].nunique()
        assert (treated.groupby("compound")["plate"].nunique() == 2).all()
        # The same place does the same on both plates, up to what all plates have.
        areas = {}
        for well, site in zip(part["well"], part["site"], strict=True):
            areas.setdefault(well, set()).add(site.changes["cell_area"])
        assert all(len(values) == 1 for values in areas.values())
        assert len(set().union(*areas.values())) > 2
    assert (places["fixed positions"] == 1).all()
    assert (places["random positions"] == 2).mean() > 0.7


def test_one_stain_worlds_change_the_named_stain_and_no_other(planted):
    part = planted["one stain"]
    assert part.loc[~controls(part), "stains"].value_counts().to_dict() == {
        stain: 10 for stain in worlds.CHANNELS
    }
    for mechanism, own in part[~controls(part)].groupby("mechanism"):
        site, named = own["site"].iloc[0], own["stains"].iloc[0]
        fields = [
            cells.Field(np.random.default_rng(1), (120, 120), site.cell_type, phenotype)
            for phenotype in (cells.NORMAL, cells.blend(designs.MECHANISMS[mechanism], 1.0))
        ]
        for stain in worlds.CHANNELS:
            usual, changed = (field.stain(stain) for field in fields)
            assert np.array_equal(usual, changed) == (stain != named), (mechanism, stain)
        assert {size for name, size in site.changes.items() if name != "count"} == {1.0}


def test_worlds_in_words():
    words = {world.name: (world.planted, world.to_find) for world in worlds.all_worlds()}
    assert words["sweep"] == ("mechanisms at strength 0.2 to 1, batch effects", "the mechanisms")
    assert words["no batch"] == (
        "mechanisms at strength 1, no batch effect",
        "the mechanisms, no batch",
    )
    assert words["batch"] == (
        "no mechanism, batch effects, a batch effect on treated wells alone",
        "no mechanism",
    )
    assert words["fixed positions"] == (
        "no mechanism, batch effects, effects of row and column, replicates at fixed positions",
        "no mechanism, no replicate",
    )


def test_worlds_without_batch_effects_have_no_effect_of_place_either():
    plan = worlds.plan(0, 64, 1, None, None, None, 0.0, 0.0)
    assert (plan.truth["strength"] == 0).all()
    assert (plan.truth["mean_gain"] == 1).all()
    assert all(set(site.changes.values()) == {1.0} for site in plan.sites)


def test_table_of_the_worlds_is_that_of_their_class_and_of_any_csv(root):
    own = valsets.open_valset("worlds", root=root)
    assert tuple(own.channels) == worlds.CHANNELS
    table = valsets.open_valset(root / "worlds" / worlds.TABLE)
    assert table.channels == own.channels
    assert table.simulated
    assert own.simulated
    assert table.metadata["path"].tolist() == own.metadata["path"].tolist()
    names = ["world", "batch", "plate", "well", "compound", "moa", "control_type"]
    assert table.metadata[names].fillna("").to_numpy().tolist() == (
        own.metadata[names].fillna("").to_numpy().tolist()
    )
    truth = simulate.planted_truth("worlds", root)
    assert set(truth["world"]) == set(own.metadata["world"])


def test_sizes_for_all_leave_the_worlds_out(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(datasets, "ensure", lambda name, root, **options: made.append(name))
    datasets.write(wells=24, root=str(tmp_path))
    assert made == [name for name in datasets.LAYOUTS if name != "worlds"]
    datasets.write(root=str(tmp_path))
    assert made[-len(datasets.LAYOUTS) :] == list(datasets.LAYOUTS)


def test_command_line(tmp_path, capsys):
    options = "--wells 3 --field 48 --workers 1 --mechanisms random --rendering 3"
    datasets.main(["--valset", "HPA", "--root", str(tmp_path), *options.split()])
    assert capsys.readouterr().out.strip() == str(tmp_path / "HPA")
    with pytest.raises(SystemExit, match="error: valset 'HAP' is not one of"):
        datasets.main(["--valset", "HAP", "--root", str(tmp_path)])


def test_example_plate_is_what_its_code_writes(tmp_path):
    example_plate.write(tmp_path)
    committed = paths.project_root() / "data" / "example"
    for name in ("plate.csv", "layout.csv"):
        assert (tmp_path / name).read_text() == (committed / name).read_text()
    metadata = valsets.open_valset(committed / "plate.csv", platemap=committed / "layout.csv")
    assert metadata.simulated
    assert (metadata.metadata["control_type"] == "negcon").sum() == 16
    for i in (0, 9, 23):
        written = valsets.open_valset(tmp_path / "plate.csv")
        expected = dataset.load_site(written, i).astype(float)
        difference = np.abs(dataset.load_site(metadata, i) - expected)
        assert np.percentile(difference, 99) <= 2
