"""The published sets of genes and proteins: Cell Health, BBBC037, the Human Protein Atlas.

Layouts: the released code's tables and the Image Data Resource's (idr0080, idr0033).
"""

import numpy as np
import pandas as pd

from ..tables import read_csv, text
from ..wells import well_name
from .published import PHENIX_CHANNELS, PublishedMetadata, existing, require, table


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

    def _sites(self, folder):
        file = existing(folder / "metadata.csv")
        if file is None:
            return self._from_annotation(folder)
        frame = read_csv(file)
        require(frame, ["row", "column", "field", *self.inference_metadata_columns], file.name)
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
        frame = table(folder / "metadata.csv", folder / name, folder / "idr0080" / name)
        require(frame, list(self._ANNOTATION), name)
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
        plates = frame["plate"].unique()
        fields = {p: self._fields_found(data / p / "Images") for p in plates}
        frame["field"] = frame["plate"].map(fields)
        frame = frame.explode("field").reset_index(drop=True)
        frame["site"] = frame["field"]
        return frame.assign(path=self._paths(folder, frame))

    @staticmethod
    def _fields_found(folder):
        """Numbers of the fields whose images are there; the first where none is."""
        names = [file.name for file in folder.glob("r??c??f??p01-ch1*")]
        return sorted({int(name[7:9]) for name in names}) or [1]

    def _mark(self, frame):
        kinds = frame["control_type"]
        marked = kinds.map(self._CONTROLS).astype(object)
        return frame.assign(control_type=marked.where(marked.notna(), None))


class HPAMetadata(PublishedMetadata):
    """Human Protein Atlas, Kaggle 2021: protein localisation in 17 cell lines, four channels.

    The antibody is the last part but one of an image's address, such as 4109 in
    ``https://images.proteinatlas.org/4109/24_H11_1``; missing where an address has one part only.
    """

    valset = "HPA"
    channels = ("blue", "red", "green", "yellow")
    resize_shorter_side = 1080
    inference_metadata_columns = ("image", "antibody", "cell_line", "label")

    def _sites(self, folder):
        file = folder / "kaggle_2021.tsv"
        frame = table(file)
        require(frame, ["Image", "Label", "Label_idx", "Cellline", "in_trainset"], file.name)
        frame = frame[frame["in_trainset"].map(lambda v: str(v).lower() == "true")]
        frame = frame.dropna(subset=["Image", "Label", "Cellline"]).reset_index(drop=True)
        parts = frame["Image"].str.split("/")
        names = parts.str[-1]
        stem = f"{folder}/images/" + names + "_"
        files = [stem + f"{channel}.tif" for channel in self.channels]
        return pd.DataFrame(
            {
                "image": names,
                "antibody": text(parts.str[-2]),
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
        images = table(image_file)
        files = [f"ImagePath_{channel}" for channel in self.channels]
        require(images, ["PlateNumber", "WellNumber", *files], image_file.name)
        idr = folder / "gene_overexpression" / "idr0033-rohban-pathways"
        name = "idr0033-screenA-annotation.csv"
        notes = table(idr / "screens" / name, idr / "annotations" / name, idr / "screenA" / name)
        wanted = {
            "Well Number": "well_id",
            "Plate": "plate",
            "Well": "well",
            "Gene Symbol": "gene_symbol",
            "Has Phenotype": "has_phenotype",
            "ORF Identifier": "orf_identifier",
        }
        require(notes, list(wanted), name)
        corrected = notes["Plate"].astype(str).str.endswith("_illum_corrected")
        notes = notes.loc[corrected, list(wanted)].rename(columns=wanted)
        notes["plate"] = notes["plate"].str.removesuffix("_illum_corrected")
        truth_file = folder / "BBBC037_v1_DatasetGroundTruth.csv"
        truth = table(truth_file)
        require(truth, ["Metadata_broad_sample", "Metadata_moa"], truth_file.name)
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
