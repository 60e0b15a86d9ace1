"""The site table of a dataset: the published contract, checked before any computing."""

import os
from collections import Counter

import numpy as np

from . import images, queries, tables

CONTROL_TYPES = ("negcon", "poscon", "empty")

_REQUIRED = ("single_channel_metadata", "is_merged", "metadata", "inference_metadata_columns")


class Metadata:
    """One row a site, or one row an image and channel, and how to read them.

    A subclass or instance sets the four published attributes; the others have defaults.

    Attributes
    ----------
    metadata : pd.DataFrame
        ``path``: the file of a merged image, or the list of one file a channel; one file in
        single-channel metadata. The other columns have bare names: source, batch, plate, well,
        site, and the dataset's own; ``control_type`` is negcon, poscon, empty, or missing for
        treatments.
    single_channel_metadata : bool
        One row an image and channel, named by the column ``channel``.
    is_merged : bool
        The channels of a site lie in one file.
    inference_metadata_columns : list of str
        Columns that follow a site into its tables.
    valset : str
        Name under which outputs are filed.
    channels : list of str
        Names, in order.
    channel_axis : {"first", "last", None}
        Where merged files hold their channels, if they do not say.
    resize_shorter_side : int or None
        Larger images are shrunk to this shorter side, in pixels.
    simulated : bool
        The images are simulated.
    root : str or None
        Folder that the paths lie below.
    """

    valset = "dataset"
    channels = None
    channel_axis = None
    resize_shorter_side = None
    simulated = False
    root = None
    _plane_numbers = None
    _named_channels = None

    @property
    def key_columns(self):
        """Those of source, batch, plate, well and site that the table has, in this order."""
        return [name for name in tables.KEYS if name in self.metadata.columns]

    @property
    def plate_columns(self):
        """The key columns of a plate; none where the dataset has no plates."""
        keys = [name for name in self.key_columns if name in tables.PLATE_KEY]
        return keys if "plate" in keys else []

    def plates(self):
        """The rows of every plate.

        Returns
        -------
        dict
            {plate key, a tuple of source, batch and plate as far as the table has them: row
            numbers (n,)}, in the order of the table; {(): all rows} where there are no plates.
        """
        return tables.groups(self.metadata, self.plate_columns)

    @property
    def well_columns(self):
        """The key columns of a well; none where the dataset has no wells."""
        keys = [name for name in self.key_columns if name != "site"]
        return keys if "well" in keys else []

    def paths(self, i):
        """Files of row `i`: one a channel, or one where the image is merged."""
        path = self.metadata["path"].iat[i]
        return [str(p) for p in path] if isinstance(path, list | tuple) else [str(path)]

    def channel_indices(self, i):
        """Planes to take from the merged file of row `i`, or None where files hold one channel."""
        if not self.is_merged:
            return None
        if not self.single_channel_metadata:
            numbers = self._plane_numbers
            return list(range(len(self.channels))) if numbers is None else list(numbers)
        channel = self.metadata["channel"].iat[i]
        if isinstance(channel, int | np.integer):
            return [int(channel)]
        position = list(self._all_channels()).index(channel)
        return [position if self._plane_numbers is None else self._plane_numbers[position]]

    @property
    def file_channels(self):
        """Channels that every merged file must hold; None where it may hold others, too."""
        if not self.is_merged or self._plane_numbers is not None:
            return None
        named = self._named_channels if self.single_channel_metadata else self.channels
        return len(named) if named else None

    def _all_channels(self):
        return self._named_channels or self.channels

    def select_channels(self, selection):
        """Keep, order and rename channels.

        Parameters
        ----------
        selection : str, list or dict
            Names in the order wanted; ``{"DNA": "ch5"}`` or ``"DNA=ch5,ER=ch1"`` renames, new name
            first.

        Raises
        ------
        ValueError
            An unknown channel, or one given twice.
        """
        if isinstance(selection, str):
            selection = [part.strip() for part in selection.split(",") if part.strip()]
            selection = dict(p.split("=", 1) if "=" in p else (p, p) for p in selection)
        elif not isinstance(selection, dict):
            selection = {name: name for name in selection}
        if not selection:
            raise ValueError("channels is empty: name at least one, or leave it out for all.")
        unknown = [old for old in selection.values() if old not in self.channels]
        if unknown:
            raise ValueError(
                f"channels names {', '.join(map(str, unknown))}, which {self.valset} does not "
                f"have; it has {', '.join(self.channels)}."
            )
        if len(set(selection.values())) < len(selection):
            raise ValueError(f"channels names a channel twice: {', '.join(selection.values())}.")
        numbers = [self.channels.index(old) for old in selection.values()]
        if self.is_merged:
            planes = self._plane_numbers or list(range(len(self.channels)))
            self._plane_numbers = [planes[number] for number in numbers]
        else:
            frame = self.metadata.copy()
            frame["path"] = [[paths[number] for number in numbers] for paths in frame["path"]]
            self.metadata = frame
        self.channels = list(selection)

    def to_single_channel(self):
        """The table with one row an image and channel.

        Returns
        -------
        pd.DataFrame
            ``path`` (one file) and ``channel`` (its name), then the other columns.
        """
        if self.single_channel_metadata:
            return self.metadata
        count = len(self.channels)
        frame = self.metadata
        rows = frame.loc[frame.index.repeat(count)].reset_index(drop=True)
        if self.is_merged:
            paths = rows["path"]
        else:
            paths = [path for channels in frame["path"] for path in channels]
        rest = rows.drop(columns=["path", "channel"], errors="ignore")
        rest.insert(0, "path", np.asarray(paths, dtype=object))
        rest.insert(1, "channel", np.tile(np.array(self.channels, dtype=object), len(frame)))
        return rest

    def as_single_channel(self):
        """Turn this metadata into single-channel metadata, in place."""
        self.metadata = self.to_single_channel()
        self._named_channels = self.channels
        self.single_channel_metadata = True

    def validate(self, check_files=True):
        """Check the contract and, where asked, that every file is there.

        Raises
        ------
        AttributeError
            One of the four published attributes is missing.
        ValueError
            An empty table, missing columns, duplicate rows, mixed channel counts; names them.
        FileNotFoundError
            Files that are absent: how many, and the first few.
        """
        for name in _REQUIRED:
            if not hasattr(self, name):
                raise AttributeError(f"{type(self).__name__} lacks the attribute {name!r}.")
        frame = self.metadata
        wanted = ["path", *self.inference_metadata_columns]
        if self.single_channel_metadata and self.is_merged:
            wanted.append("channel")
        missing = [name for name in wanted if name not in frame.columns]
        if missing:
            raise ValueError(
                f"{self.valset}: the table lacks the columns {', '.join(missing)}; it has "
                f"{', '.join(map(str, frame.columns))}."
            )
        if frame.empty:
            raise ValueError(f"{self.valset}: the table has no rows.")
        self._check_paths()
        if self.channels is None:
            self.channels = self._default_channels()
        else:
            self.channels = list(self.channels)
        self._check_keys()
        if check_files:
            self._check_files()

    def _check_paths(self):
        frame = self.metadata
        several = not (self.is_merged or self.single_channel_metadata)
        kind = list | tuple if several else str | os.PathLike
        wrong = [i for i, path in enumerate(frame["path"]) if not isinstance(path, kind)]
        if wrong:
            raise ValueError(
                f"{self.valset}: the column path of row {wrong[0] + 1} holds "
                f"{frame['path'].iat[wrong[0]]!r}; expected "
                f"{'a list of one file a channel' if several else 'the path of one file'} "
                f"({len(wrong)} such rows)."
            )
        if several:
            counts = frame["path"].map(len)
            if counts.nunique() > 1:
                usual = counts.mode().iat[0]
                first = int(np.flatnonzero(counts != usual)[0])
                raise ValueError(
                    f"{self.valset}: mixed channel counts: most sites have {usual} files, row "
                    f"{first + 1} has {counts.iat[first]} ({frame['path'].iat[first]})."
                )
        names = frame["path"].map(lambda p: "|".join(map(str, p)) if several else str(p))
        if self.single_channel_metadata and "channel" in frame.columns:
            names = names + "|" + frame["channel"].astype(str)
        repeated = names.duplicated(keep=False)
        if repeated.any():
            first, second = np.flatnonzero(names == names[repeated].iat[0])[:2] + 1
            raise ValueError(
                f"{self.valset}: {int(repeated.sum())} rows repeat the images of another row; the "
                f"first are rows {first} and {second}: {names[repeated].iat[0]}. Remove one."
            )

    def _check_keys(self):
        frame = self.metadata
        keys = [name for name in ("plate", "well") if name in self.key_columns]
        for name in keys:
            absent = frame[name].isna()
            if absent.any():
                raise ValueError(
                    f"{self.valset}: the column {name} is empty in {int(absent.sum())} rows, the "
                    f"first is row {int(np.flatnonzero(absent)[0]) + 1}. Every site needs its "
                    f"{name}, or the column must go."
                )
        if "control_type" in frame.columns:
            found = set(frame["control_type"].dropna().unique()) - set(CONTROL_TYPES)
            if found:
                raise ValueError(
                    f"{self.valset}: control_type holds {', '.join(map(repr, sorted(found)))}; "
                    f"expected {', '.join(CONTROL_TYPES)}, or nothing for treatments."
                )

    def _default_channels(self):
        if self.single_channel_metadata:
            if "channel" not in self.metadata.columns:
                return ["ch1"]
            return [str(name) for name in dict.fromkeys(self.metadata["channel"])]
        if self.is_merged:
            count = self._usual_channels()
        else:
            count = len(self.paths(0))
        return [f"ch{i + 1}" for i in range(count)]

    def _check_files(self):
        files = [file for i in range(len(self.metadata)) for file in self.paths(i)]
        absent = missing_files(files)
        if absent:
            shown = "\n  ".join(absent[:3])
            raise FileNotFoundError(
                f"{self.valset}: {len(absent)} of {len(files)} image files are missing, the first "
                f"are\n  {shown}\nCheck the paths in the table and the data root."
            )
        if self.is_merged and not self.single_channel_metadata:
            self._check_channel_count()

    def _usual_channels(self):
        """How many channels most merged files hold; the others are recorded with their sites."""
        files = list(dict.fromkeys(self.paths(i)[0] for i in range(len(self.metadata))))
        headers = images.image_headers(files, self.channel_axis)
        counts = [None if isinstance(one, str) else one.channels for one in headers]
        readable = Counter(count for count in counts if count is not None)
        if not readable:
            raise images.ImageError(headers[0])
        usual, number = readable.most_common(1)[0]
        if len(readable) > 1 and 2 * number <= readable.total():
            odd = [i for i, count in enumerate(counts) if count not in (None, usual)]
            raise ValueError(
                f"{self.valset}: mixed channel counts: {number} images have {usual} channels, "
                f"{len(odd)} do not; the first is {files[odd[0]]} with {counts[odd[0]]}."
            )
        return usual

    def _check_channel_count(self):
        count = self._usual_channels()
        needed = self.file_channels or max(self._plane_numbers) + 1
        if count < needed or (self.file_channels and count != needed):
            raise ValueError(
                f"{self.valset}: the images have {count} channels, the dataset {needed} "
                f"({', '.join(self.channels)}). Name as many channels as the images have"
                f"{'' if self.channel_axis else ', or set channel_axis'}."
            )


def missing_files(files):
    """The files that do not exist, each folder listed once.

    Parameters
    ----------
    files : list of str

    Returns
    -------
    list of str
    """
    folders = {}
    absent = []
    for file in dict.fromkeys(files):
        folder, name = os.path.split(file)
        if folder not in folders:
            try:
                with os.scandir(folder or ".") as entries:
                    folders[folder] = {entry.name for entry in entries}
            except OSError:
                folders[folder] = set()
        if name not in folders[folder]:
            absent.append(file)
    return absent


def well_name(values):
    """Wells in one spelling: A1, a01 and A001 become A01.

    Parameters
    ----------
    values : pd.Series

    Returns
    -------
    pd.Series
        Missing stays missing; what is not a letter and a number stays as it is.
    """
    text = values.astype("string").str.strip()
    parts = text.str.extract(r"^([A-Za-z]{1,2})0*(\d+)$")
    named = parts[0].str.upper() + parts[1].str.zfill(2)
    return named.fillna(text).astype(object).where(values.notna(), None)


def mark_controls(frame, controls, valset):
    """Set ``control_type`` to negcon where a query holds.

    Parameters
    ----------
    frame : pd.DataFrame
        Bare column names.
    controls : str
        See `queries.rows`.

    Raises
    ------
    ValueError
        No query on these columns, or one that no row fulfils; lists the values that there are.
    """
    known = frame.drop(columns="path", errors="ignore")
    try:
        rows = queries.rows(known, controls)
    except ValueError as error:
        raise ValueError(
            f"controls {controls!r} is no query on {valset} ({error}); its columns are "
            f"{', '.join(map(str, known.columns))}."
        ) from None
    if not rows.any():
        raise ValueError(
            f"controls {controls!r} matches no row of {valset}: "
            f"{queries.values_named(known, controls)}"
        )
    marked = frame.copy()
    if "control_type" not in marked.columns:
        marked["control_type"] = None
    kinds = marked["control_type"].astype(object)
    # The query decides alone which wells are negative controls; other kinds stay.
    marked["control_type"] = kinds.where(kinds.notna() & (kinds != "negcon"), None)
    marked.loc[rows, "control_type"] = "negcon"
    return marked
