"""The published sets of compounds: BBBC021, JUMP-CP and its example plate, insect cells.

Layouts: the released code's and the Broad Bioimage Benchmark Collection's tables.
"""

import pandas as pd

from ..controls import mark_controls
from ..tables import read_csv
from ..wells import well_name
from .published import PHENIX_CHANNELS, PublishedMetadata, existing, require, table

JUMP_DMSO_WELLS = 1000
"""DMSO wells a source in the published JUMP-CP training mix."""


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

    def _sites(self, folder):
        file = folder / "BBBC021_v1_image.csv"
        frame = table(file)
        files = [f"Image_FileName_{channel}" for channel in self.channels]
        wanted = {
            "Image_Metadata_Plate_DAPI": "plate",
            "Image_Metadata_Well_DAPI": "well",
            "TableNumber": "batch",
            "ImageNumber": "ImageNumber",
            "Image_Metadata_Compound": "compound",
            "Image_Metadata_Concentration": "concentration",
        }
        require(frame, [*wanted, "Image_PathName_DAPI", *files], file.name)
        moa_file = folder / "BBBC021_v1_moa.csv"
        moa = table(moa_file)
        require(moa, ["compound", "concentration", "moa"], moa_file.name)
        frame = frame[frame["Image_Metadata_Compound"] != "UNKNOWN"].reset_index(drop=True)
        images = f"{folder}/Images/" + frame["Image_PathName_DAPI"].str.split("/").str[-1] + "/"
        path = [list(row) for row in zip(*(images + frame[name] for name in files), strict=True)]
        sites = frame[list(wanted)].rename(columns=wanted)
        sites = sites.merge(moa.drop_duplicates(), how="left", on=["compound", "concentration"])
        if len(sites) != len(frame):
            raise ValueError(f"{moa_file.name} gives a compound and concentration two mechanisms.")
        smiles = existing(folder / "BBBC021_v1_compound.csv")
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
        frame = table(file)
        wanted = [name for name in self.inference_metadata_columns if name != "target"]
        require(frame, [*wanted, path_column], file.name)
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
        frame = table(file)
        require(frame, ["fov_id", *self.inference_metadata_columns], file.name)
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
