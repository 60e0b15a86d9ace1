"""What training is watched by: the nearest-neighbour accuracy of a dataset that it never sees."""

import shutil
from pathlib import Path

from .. import evaluate, inference, tables, valsets
from .state import WEIGHTS

QUESTIONS = {
    "BBBC021": ("moa", ["compound"]),
    "jumpcp-valset": ("perturbation_id", ["plate", "source"]),
    "example_data": ("target", ["perturbation_id"]),
    "cell-health": ("gene_symbol", ["reagent_identifier"]),
    "insect": ("MoA", ["perturbation_id"]),
    "BBBC037": ("gene_symbol", []),
    "HPA": ("label", ["antibody"]),
}
"""Label of each published set, and the columns that a neighbour may not share."""


class Monitor:
    """A dataset embedded by the teacher from time to time.

    Parameters
    ----------
    valset : str
        See `valsets.name_and_root`.
    label : str
    exclude : list of str
    precision : {"fp32", "bf16", "fp16"}
        Of the forward pass: that of the training, so that the curve does not follow the machine.
    """

    def __init__(self, valset, label, exclude, precision):
        self.valset, self.root = valsets.name_and_root(valset)
        self.label = label
        self.exclude = exclude
        self.precision = precision

    @classmethod
    def open(cls, options):
        """The monitor that training's options ask for, or None.

        Raises
        ------
        ValueError
            A label that is missing, no column of the dataset, or excluded.
        """
        name = options["monitor"]
        if name is None:
            for other in ("monitor_label", "monitor_exclude"):
                if options[other] is not None:
                    raise ValueError(f"{other} is given without monitor; name the dataset, too.")
            return None
        valset, root = valsets.name_and_root(name)
        metadata = valsets.open_valset(valset, root=root)
        label, exclude = QUESTIONS.get(metadata.valset, (None, []))
        label = options["monitor_label"] or label
        if label is None:
            raise ValueError(
                f"monitor {name} needs monitor_label, the column whose accuracy is followed."
            )
        if options["monitor_exclude"] is not None:
            given = options["monitor_exclude"]
            exclude = [given] if isinstance(given, str) else list(given)
        known = metadata.described
        found = [tables.find_column(known, column) for column in (label, *exclude)]
        if found[0] in found[1:]:
            raise ValueError(
                f"monitor_exclude names {label}, the monitor's label: no neighbour could be right."
            )
        return cls(name, label, exclude, options["precision"])

    def accuracy(self, folder, device):
        """Accuracy of the teacher whose weights stand in a training folder.

        Parameters
        ----------
        folder : Path
            Of the training.
        device : torch.device

        Returns
        -------
        float
            Share of labelled, treated profiles whose nearest allowed neighbour (cosine, after
            standardising on the plate's negative controls) has their label.
        """
        outdir = Path(folder) / "monitor"
        try:
            made = inference.extract(
                self.valset,
                model=str(Path(folder) / WEIGHTS),
                root=self.root,
                outdir=str(outdir),
                device=str(device),
                precision=self.precision,
            )
        finally:
            shutil.rmtree(outdir, ignore_errors=True)
        profiles = made.profiles
        label = tables.find_column(profiles, self.label)
        kept = profiles[label].notna()
        if "Metadata_control_type" in profiles:
            kept &= profiles["Metadata_control_type"].isna()
        result = evaluate.nearest_neighbour_accuracy(
            profiles[kept].reset_index(drop=True), label, exclude=self.exclude
        )
        return float(result)
