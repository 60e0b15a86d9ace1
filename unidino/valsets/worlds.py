"""The simulated worlds, behind which nothing real lies."""

from .published import PublishedMetadata, require, table


class WorldsMetadata(PublishedMetadata):
    """Small simulated screens in each of which one thing is planted, see `simulate.worlds`.

    Their table, ``plates.csv`` in the dataset's folder, opens as a CSV, too.
    """

    valset = "worlds"
    channels = ("dna", "tubulin", "actin")
    inference_metadata_columns = (
        "world", "batch", "plate", "well", "site", "compound", "moa", "control_type", "strength",
    )  # fmt: skip

    def _sites(self, folder):
        file = folder / "plates.csv"
        frame = table(file)
        require(frame, [*self.inference_metadata_columns, *self.channels], file.name)
        paths = [f"{folder}/" + frame[channel] for channel in self.channels]
        columns = list(self.inference_metadata_columns)
        return frame[columns].assign(path=[list(row) for row in zip(*paths, strict=True)])
