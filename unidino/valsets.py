"""The seven published datasets, one class each, and their names.

Layouts: the released code's and the data providers' tables (BBBC021 and BBBC037 at the Broad
Bioimage Benchmark Collection, idr0033 and idr0080 at the Image Data Resource, the Kaggle 2021
competition of the Human Protein Atlas).
"""

from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from . import paths
from .csv_dataset import CSVMetadata
from .metadata import Metadata, mark_controls, read_csv, well_name

PHENIX_CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
"""Channels 1 to 5 of the Cell Painting sets, in file-name order."""

JUMP_DMSO_WELLS = 1000
"""DMSO wells a source in the published JUMP-CP training mix."""


def _existing(*candidates):
    """The first of these files that exists, plain or as .gz, or None."""
    for candidate in candidates:
        for file in (candidate, candidate.with_name(candidate.name + ".gz")):
            if file.is_file():
                return file
    return None


def _table(*candidates):
    """A table that must exist under one of these names."""
    file = _existing(*candidates)
    if file is None:
        raise FileNotFoundError(
            f"no table at {candidates[0]}. Put the dataset there, set UNIDINO_DATA to the folder "
            "that holds it, or unset UNIDINO_DATA to work on simulated data."
        )
    return read_csv(file)


def _require(frame, columns, file):
    lacking = [column for column in columns if column not in frame.columns]
    if lacking:
        raise ValueError(
            f"{file} lacks the columns {', '.join(lacking)}; it has "
            f"{', '.join(map(str, frame.columns))}."
        )


class PublishedMetadata(Metadata):
    """What the seven published datasets share.

    Parameters
    ----------
    single_channel_metadata : bool
        One row an image and channel.
    root : str or Path, optional
        Data root; UNIDINO_DATA, else ``data/sample``, where absent datasets are simulated.
    check_files : bool
        Check that every image is there.
    """

    is_merged = False

    def __init__(self, single_channel_metadata=False, root=None, check_files=True):
        self.single_channel_metadata = False
        folder = self._find_folder(root)
        self.root = str(folder)
        self.simulated = (folder / "SIMULATED.json").is_file()
        self.channels = list(type(self).channels)
        self.metadata = self._mark(self._sites(folder)).reset_index(drop=True)
        self.validate(check_files=check_files)
        if single_channel_metadata:
            self.as_single_channel()

    def _find_folder(self, root):
        if root is None and paths.data_is_simulated_default():
            from . import simulate

            simulate.ensure(self.valset, paths.data_root())
        return paths.dataset_folder(self.valset, root).absolute()

    def _mark(self, frame):
        return frame

    def _downsampled(self, controls, share, by):
        """Keep a seeded share of the controls of every plate, as the published training mix."""
        generator = np.random.default_rng(0)
        keep = ~controls.to_numpy()
        for _, rows in (
            controls[controls].groupby([self.metadata[name] for name in by]).groups.items()
        ):
            count = max(1, round(share * len(rows)))
            keep[generator.choice(np.asarray(rows), count, replace=False)] = True
        return self.metadata[keep].reset_index(drop=True)


class BBBC021Metadata(PublishedMetadata):
    """BBBC021: MCF7 cells, 113 compounds at up to 8 doses, 12 mechanisms (Caie 2010; Ljosa 2012).

    Parameters
    ----------
    downsample_controls : bool
        Keep 15 % of the DMSO and taxol sites of each plate, as the published training mix.
    clean : bool
        Keep the sites with a known mechanism only.
    """

    valset = "BBBC021"
    channels = ("DAPI", "Tubulin", "Actin")
    inference_metadata_columns = (
        "plate", "well", "batch", "ImageNumber", "compound", "concentration", "moa",
    )  # fmt: skip

    def __init__(
        self,
        single_channel_metadata=False,
        root=None,
        check_files=True,
        *,
        downsample_controls=False,
        clean=False,
    ):
        super().__init__(False, root, check_files)
        if downsample_controls:
            controls = self.metadata["compound"].isin(["DMSO", "taxol"])
            self.metadata = self._downsampled(controls, 0.15, ["compound", "plate"])
        if clean:
            self.metadata = self.metadata[self.metadata["moa"].notna()].reset_index(drop=True)
        if single_channel_metadata:
            self.as_single_channel()

    def _find_folder(self, root):
        folder = super()._find_folder(root)
        # The tables may lie in the root itself, without the images.
        if not folder.is_dir() and root is not None:
            return Path(root).absolute()
        return folder

    def _sites(self, folder):
        file = folder / "BBBC021_v1_image.csv"
        frame = _table(file)
        files = [f"Image_FileName_{channel}" for channel in self.channels]
        wanted = {
            "Image_Metadata_Plate_DAPI": "plate",
            "Image_Metadata_Well_DAPI": "well",
            "TableNumber": "batch",
            "ImageNumber": "ImageNumber",
            "Image_Metadata_Compound": "compound",
            "Image_Metadata_Concentration": "concentration",
        }
        _require(frame, [*wanted, "Image_PathName_DAPI", *files], file.name)
        moa_file = folder / "BBBC021_v1_moa.csv"
        moa = _table(moa_file)
        _require(moa, ["compound", "concentration", "moa"], moa_file.name)
        frame = frame[frame["Image_Metadata_Compound"] != "UNKNOWN"].reset_index(drop=True)
        images = f"{folder}/Images/" + frame["Image_PathName_DAPI"].str.split("/").str[-1] + "/"
        path = [list(row) for row in zip(*(images + frame[name] for name in files), strict=True)]
        sites = frame[list(wanted)].rename(columns=wanted)
        sites = sites.merge(moa.drop_duplicates(), how="left", on=["compound", "concentration"])
        if len(sites) != len(frame):
            raise ValueError(f"{moa_file.name} gives a compound and concentration two mechanisms.")
        smiles = _existing(folder / "BBBC021_v1_compound.csv")
        if smiles is not None:
            compounds = read_csv(smiles).drop_duplicates("compound")
            sites = sites.merge(compounds[["compound", "smiles"]], how="left", on="compound")
        sites["well"] = well_name(sites["well"])
        sites["site"] = frame[files[0]].str.extract(r"_s(\d+)_")[0].fillna("1").to_numpy()
        return sites.assign(path=path)

    def _mark(self, frame):
        kinds = {"DMSO": "negcon", "taxol": "poscon"}
        return frame.assign(control_type=frame["compound"].map(kinds).astype(object))


class _JUMP(PublishedMetadata):
    """Merged five-channel images, DMSO as negative control."""

    is_merged = True
    channels = PHENIX_CHANNELS

    def _frame(self, file, path_column, below):
        frame = _table(file)
        wanted = [name for name in self.inference_metadata_columns if name != "target"]
        _require(frame, [*wanted, path_column], file.name)
        files = frame[path_column].astype(str)
        start = f"{below}/"
        frame = frame.assign(
            path=[name if name.startswith("/") else start + name for name in files],
            well=well_name(frame["well"]),
            plate=frame["plate"].astype(str),
        )
        if "target" not in frame.columns:
            frame["target"] = None
        columns = [*self.inference_metadata_columns, "path"]
        frame = frame[columns + [c for c in ("site",) if c in frame.columns]]
        if "site" not in frame.columns:
            keys = [c for c in ("source", "batch", "plate", "well") if c in frame.columns]
            frame = frame.assign(site=frame.groupby(keys, sort=False).cumcount() + 1)
        return frame

    def _mark(self, frame):
        return mark_controls(frame, "perturbation_id == 'DMSO'", self.valset)


class JUMPCPMetadata(_JUMP):
    """JUMP-CP Target-2 plates of four sources, U2OS cells, five channels (Chandrasekaran 2023).

    Parameters
    ----------
    training_set : bool
        The published training tables: active compounds and 1000 DMSO wells a source.
    """

    valset = "jumpcp-valset"
    inference_metadata_columns = ("source", "batch", "plate", "well", "perturbation_id", "target")

    def __init__(
        self, single_channel_metadata=False, root=None, check_files=True, *, training_set=False
    ):
        self._training_set = training_set
        super().__init__(single_channel_metadata, root, check_files)

    def _sites(self, folder):
        tables = folder / "sources" / "dataload"
        if not self._training_set:
            return self._frame(tables / "JUMP_valset_4sources.csv", "FileName_Merged", folder)
        everything = self._frame(tables / "JUMP_trainset_4sources.csv", "FileName_Merged", folder)
        dmso = everything[everything["perturbation_id"] == "DMSO"]
        kept = [
            part.sample(min(len(part), JUMP_DMSO_WELLS), random_state=0)
            for _, part in dmso.groupby("source")
        ]
        active = self._frame(
            tables / "JUMP_trainset_4sources_active_only.csv", "FileName_Merged", folder
        )
        return pd.concat([*kept, active], ignore_index=True)


class ExampleJUMPCPMetadata(_JUMP):
    """One example plate of JUMP-CP, JCPQC051."""

    valset = "example_data"
    inference_metadata_columns = ("batch", "plate", "well", "perturbation_id", "target")

    def _sites(self, folder):
        return self._frame(folder / "example_metadata.csv", "path", folder / "JCPQC051")


class CellHealthMetadata(PublishedMetadata):
    """Cell Health: CRISPR guides in three lines, five channels (Way 2021; idr0080).

    Where the authors' ``metadata.csv`` is absent, the IDR annotation and the images found give the
    same fields. The annotation lists its nine plates twice; one version is used: the one whose
    images are there, else the plain one.
    """

    valset = "cell-health"
    channels = PHENIX_CHANNELS
    resize_shorter_side = 1080
    inference_metadata_columns = (
        "plate", "well", "cell_line", "reagent_identifier", "gene_symbol", "control_type",
        "comment",
    )  # fmt: skip
    _CONTROLS = {"negative": "negcon", "positive": "poscon", "no reagent": "empty"}
    _ANNOTATION = {
        "Plate": "plate",
        "Well": "well",
        "Characteristics [Cell Line]": "cell_line",
        "Reagent Identifier": "reagent_identifier",
        "Gene Symbol": "gene_symbol",
        "Control Type": "control_type",
        "Comment [Image]": "comment",
    }

    def _find_folder(self, root):
        folder = super()._find_folder(root)
        if not folder.is_dir() and root is not None:
            return Path(root).absolute()
        return folder

    def _sites(self, folder):
        file = _existing(folder / "metadata.csv")
        if file is None:
            return self._from_annotation(folder)
        frame = read_csv(file)
        _require(frame, ["row", "column", "field", *self.inference_metadata_columns], file.name)
        frame = frame.assign(well=well_name(frame["well"]), site=frame["field"])
        return frame.assign(path=self._paths(folder, frame))

    def _paths(self, folder, frame):
        row, column, field = (
            frame[name].astype(int).astype(str).str.zfill(2) for name in ("row", "column", "field")
        )
        stem = f"{folder}/idr0080/data/" + frame["plate"].astype(str) + "/Images/"
        stem = stem + "r" + row + "c" + column + "f" + field + "p01-ch"
        channels = [stem + f"{i}sk1fk1fl1.tiff" for i in range(1, len(PHENIX_CHANNELS) + 1)]
        return [list(files) for files in zip(*channels, strict=True)]

    def _from_annotation(self, folder):
        name = "idr0080-screenA-annotation.csv"
        frame = _table(folder / "metadata.csv", folder / name, folder / "idr0080" / name)
        _require(frame, list(self._ANNOTATION), name)
        frame = frame[list(self._ANNOTATION)].rename(columns=self._ANNOTATION)
        frame = frame.assign(well=well_name(frame["well"]))
        data = folder / "idr0080" / "data"
        corrected = frame["plate"].str.endswith("_illum_corrected")
        plain_name = frame["plate"].str.removesuffix("_illum_corrected")
        found = {p: (data / p / "Images").is_dir() for p in frame["plate"].unique()}
        # Per plate: the version whose images are there, else the plain one where it is listed.
        versions = pd.DataFrame({"plate": frame["plate"], "name": plain_name, "c": corrected})
        versions = versions.drop_duplicates()
        versions["found"] = versions["plate"].map(found)
        versions = versions.sort_values(["found", "c"], ascending=[False, True], kind="stable")
        chosen = set(versions.drop_duplicates("name")["plate"])
        frame = frame[frame["plate"].isin(chosen)].reset_index(drop=True)
        position = frame["well"].str.extract(r"([A-Z])(\d+)")
        frame["row"] = position[0].map(lambda letter: ord(letter) - ord("A") + 1)
        frame["column"] = position[1].astype(int)
        fields = [sorted({int(f.name[7:9]) for f in (data / p / "Images").glob("r??c??f??p01-ch1*")})
                  or [1] for p in frame["plate"].unique()]  # fmt: skip
        frame["field"] = frame["plate"].map(dict(zip(frame["plate"].unique(), fields, strict=True)))
        frame = frame.explode("field").reset_index(drop=True)
        frame["site"] = frame["field"]
        return frame.assign(path=self._paths(folder, frame))

    def _mark(self, frame):
        kinds = frame["control_type"]
        marked = kinds.map(self._CONTROLS).astype(object)
        return frame.assign(control_type=marked.where(marked.notna(), None))


class HPAMetadata(PublishedMetadata):
    """Human Protein Atlas, Kaggle 2021: protein localisation in 17 cell lines, four channels."""

    valset = "HPA"
    channels = ("blue", "red", "green", "yellow")
    resize_shorter_side = 1080
    inference_metadata_columns = ("image", "cell_line", "label")

    def _sites(self, folder):
        file = folder / "kaggle_2021.tsv"
        frame = _table(file)
        _require(frame, ["Image", "Label", "Label_idx", "Cellline", "in_trainset"], file.name)
        frame = frame[frame["in_trainset"].map(lambda v: str(v).lower() == "true")]
        frame = frame.dropna(subset=["Image", "Label", "Cellline"]).reset_index(drop=True)
        names = frame["Image"].str.split("/").str[-1]
        stem = f"{folder}/images/" + names + "_"
        files = [stem + f"{channel}.tif" for channel in self.channels]
        return pd.DataFrame(
            {
                "image": names,
                "cell_line": frame["Cellline"],
                "label": frame["Label"],
                "label_idx": frame["Label_idx"].astype(str),
                "path": [list(row) for row in zip(*files, strict=True)],
            }
        )


class BBBC037Metadata(PublishedMetadata):
    """BBBC037: over-expressed genes in U2OS, five channels (Rohban 2017; idr0033).

    Parameters
    ----------
    downsample_controls : bool
        Keep 15 % of the control sites of each plate, as the published training mix.
    clean : bool
        Keep genes with a phenotype, and controls.
    """

    valset = "BBBC037"
    channels = ("Hoechst", "ERSyto", "ERSytoBleed", "PhGolgi", "Mito")
    inference_metadata_columns = (
        "well_id", "plate", "well", "gene_symbol", "has_phenotype", "orf_identifier", "moa",
    )  # fmt: skip

    def __init__(
        self,
        single_channel_metadata=False,
        root=None,
        check_files=True,
        *,
        downsample_controls=False,
        clean=False,
    ):
        super().__init__(False, root, check_files)
        controls = self.metadata["gene_symbol"] == "control"
        if downsample_controls:
            self.metadata = self._downsampled(controls, 0.15, ["plate"])
        if clean:
            controls = self.metadata["gene_symbol"] == "control"
            active = self.metadata["has_phenotype"] == "yes"
            self.metadata = self.metadata[controls | active].reset_index(drop=True)
        if single_channel_metadata:
            self.as_single_channel()

    def _sites(self, folder):
        image_file = folder / "BBBC037_image_path.csv"
        images = _table(image_file)
        files = [f"ImagePath_{channel}" for channel in self.channels]
        _require(images, ["PlateNumber", "WellNumber", *files], image_file.name)
        idr = folder / "gene_overexpression" / "idr0033-rohban-pathways"
        name = "idr0033-screenA-annotation.csv"
        notes = _table(idr / "screens" / name, idr / "annotations" / name, idr / "screenA" / name)
        wanted = {
            "Well Number": "well_id",
            "Plate": "plate",
            "Well": "well",
            "Gene Symbol": "gene_symbol",
            "Has Phenotype": "has_phenotype",
            "ORF Identifier": "orf_identifier",
        }
        _require(notes, list(wanted), name)
        corrected = notes["Plate"].astype(str).str.endswith("_illum_corrected")
        notes = notes.loc[corrected, list(wanted)].rename(columns=wanted)
        notes["plate"] = notes["plate"].str.removesuffix("_illum_corrected")
        truth_file = folder / "BBBC037_v1_DatasetGroundTruth.csv"
        truth = _table(truth_file)
        _require(truth, ["Metadata_broad_sample", "Metadata_moa"], truth_file.name)
        truth = truth.drop_duplicates("Metadata_broad_sample")
        moa = truth.set_index("Metadata_broad_sample")["Metadata_moa"]
        plates = images["PlateNumber"].astype(str)
        stem = f"{folder}/gene_overexpression/images_illum_corrected/" + plates + "/"
        path = [list(row) for row in zip(*(stem + images[f] for f in files), strict=True)]
        sites = pd.DataFrame({"plate": plates, "well_id": images["WellNumber"]})
        sites = sites.merge(notes, how="left", on=["plate", "well_id"], validate="many_to_one")
        lost = sites["well"].isna()
        if lost.any():
            row = sites[lost].iloc[0]
            raise ValueError(
                f"{name} has no row for {int(lost.sum())} images of {image_file.name}; the first "
                f"is plate {row['plate']}, well number {row['well_id']}."
            )
        sites["moa"] = sites["orf_identifier"].map(moa).astype(object)
        sites["well"] = well_name(sites["well"])
        sites["site"] = sites.groupby(["plate", "well"], sort=False).cumcount() + 1
        return sites.assign(path=path)

    def _mark(self, frame):
        control = frame["gene_symbol"].isna()
        return frame.assign(
            gene_symbol=frame["gene_symbol"].where(~control, "control"),
            control_type=np.where(control, "negcon", None),
        )


class InsectMetadata(PublishedMetadata):
    """Sf9 insect cells with insecticides of known mechanism, five channels.

    Parameters
    ----------
    downsample_controls : bool
        Keep 10 % of the DMSO sites of each plate, as the published training mix.
    """

    valset = "insect"
    channels = PHENIX_CHANNELS
    inference_metadata_columns = (
        "plate", "well", "cell_count", "batch", "perturbation_id", "MoA", "concentration",
    )  # fmt: skip

    def __init__(
        self,
        single_channel_metadata=False,
        root=None,
        check_files=True,
        *,
        downsample_controls=False,
    ):
        super().__init__(False, root, check_files)
        if downsample_controls:
            controls = self.metadata["perturbation_id"] == "DMSO"
            self.metadata = self._downsampled(controls, 0.1, ["plate"])
        if single_channel_metadata:
            self.as_single_channel()

    def _sites(self, folder):
        file = folder / "metadata_all_batches_sf9.csv"
        frame = _table(file)
        _require(frame, ["fov_id", *self.inference_metadata_columns], file.name)
        frame = frame[frame["batch"] == "Batch3"].reset_index(drop=True)
        if frame.empty:
            raise ValueError(f"{file.name} has no rows of batch Batch3, the published one.")
        stem = f"{folder}/images/" + frame["batch"] + "/" + frame["plate"].astype(str) + "/Images/"
        stem = stem + frame["fov_id"].astype(str) + "p01-ch"
        channels = [stem + f"{i}sk1fk1fl1.tiff" for i in range(1, len(PHENIX_CHANNELS) + 1)]
        frame["plate"] = frame["plate"].astype(str)
        frame["well"] = well_name(frame["well"])
        frame["site"] = frame["fov_id"].astype(str).str.extract(r"f(\d+)$")[0].fillna("1")
        columns = ["fov_id", *self.inference_metadata_columns, "site"]
        return frame[columns].assign(path=[list(row) for row in zip(*channels, strict=True)])

    def _mark(self, frame):
        return mark_controls(frame, "perturbation_id == 'DMSO'", self.valset)


VALSETS = {
    cls.valset: cls
    for cls in (
        BBBC021Metadata,
        JUMPCPMetadata,
        ExampleJUMPCPMetadata,
        CellHealthMetadata,
        HPAMetadata,
        BBBC037Metadata,
        InsectMetadata,
    )
}
"""Name of each published dataset and its class."""

_TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".parquet")


def open_valset(
    valset,
    single_channel_metadata=False,
    root=None,
    check_files=True,
    *,
    platemap=None,
    channels=None,
    controls=None,
    channel_axis=None,
):
    """The metadata of a dataset by name, or of a CSV by path.

    Parameters
    ----------
    valset : str or Path
        A key of `VALSETS` (any case), or a path ending in .csv, .csv.gz, .tsv or .parquet.
    single_channel_metadata, root, check_files
        See `PublishedMetadata` and `csv_dataset.CSVMetadata`.
    platemap, channel_axis
        Of a CSV only.
    channels : str, list or dict, optional
        See `Metadata.select_channels`.
    controls : str, optional
        pandas query that names the negative controls, instead of the dataset's own.

    Returns
    -------
    Metadata

    Raises
    ------
    ValueError
        An unknown name (suggests the nearest), or options that do not apply.
    """
    name = str(valset)
    if name.lower().endswith(_TABLE_SUFFIXES):
        return CSVMetadata(
            name,
            single_channel_metadata,
            root,
            check_files,
            platemap=platemap,
            channels=channels,
            controls=controls,
            channel_axis=channel_axis,
        )
    known = {key.lower(): key for key in VALSETS}
    if name.lower() not in known:
        near = get_close_matches(name.lower(), known, n=2, cutoff=0.4)
        hint = f" Did you mean {' or '.join(known[n] for n in near)}?" if near else ""
        raise ValueError(
            f"unknown valset {name!r}. It is one of {', '.join(VALSETS)}, or the path of a CSV."
            f"{hint}"
        )
    for option, value in (("platemap", platemap), ("channel_axis", channel_axis)):
        if value is not None:
            raise ValueError(f"{option} goes with a CSV, not with {known[name.lower()]}.")
    metadata = VALSETS[known[name.lower()]](False, root, check_files)
    if controls is not None:
        frame = metadata.metadata.assign(control_type=None)
        metadata.metadata = mark_controls(frame, controls, metadata.valset)
    if channels is not None:
        metadata.select_channels(channels)
    if single_channel_metadata:
        metadata.as_single_channel()
    return metadata
