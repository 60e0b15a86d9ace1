"""The site table of a dataset: the published contract, checked before any computing."""

import os
from collections import Counter
from functools import cached_property
from itertools import chain

import numpy as np
import pandas as pd

from . import images, quality, remote, tables
from .controls import CONTROL_TYPES
from .presence import may_repeat, missing_files
from .progress import say
from .variation import variation

_ADDED = ("path", "row", "simulated", "status", "error")
_COUNTED = ("sites", "replicates")

_LOOKED_AT = 64

_REQUIRED = ("single_channel_metadata", "is_merged", "metadata", "inference_metadata_columns")


class Metadata:
    """One row a site, or one row an image and channel, and how to read them.

    A subclass or instance sets the four published attributes; the others have defaults.

    Attributes
    ----------
    metadata : pd.DataFrame
        ``path``: the file of a merged image, or the list of one file a channel; one file in
        single-channel metadata. ``illumination``, where images are to be corrected as they are
        read: the list of one function's file or None a channel, see `illumination`. The other
        columns have bare names: source, batch, plate, well, site, and the dataset's own;
        ``control_type`` is negcon, poscon, empty, or missing for treatments.
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
    files_per_channel : int
        Files of which a channel is the brightest at every pixel: the planes of a maximum
        projection, one after another in ``path``. 1 where a channel is one file.
    channel_axis : {"first", "last", None}
        Where merged files hold their channels, if they do not say.
    plane : int, "max" or None
        Plane of depth that is read of files that hold several, from 1; "max" is their maximum
        projection. None where each file holds one plane, also if planes lie in files of their own.
    timepoint : int or None
        Time point that is read of files that hold several, from 1.
    resolution_level : int or None
        Of OME-Zarr images, 0 the full one; it is a part of their paths.
    resize_shorter_side : int or None
        Larger images are shrunk to this shorter side, in pixels.
    target_pixel_size : float or None
        Images are rescaled to this size of a pixel, in µm, as they are read; see `pixel_size`.
    remote : bool
        Files elsewhere may be fetched, see `remote`.
    simulated : bool
        The images are simulated.
    root : str or None
        Folder that the paths lie below.
    notes : tuple of str
        What was odd about the data, said when it was found.
    origin : str or None
        The table or folder that tells the dataset from others of its name; `root` by default.
    """

    valset = "dataset"
    channels = None
    files_per_channel = 1
    channel_axis = None
    plane = None
    timepoint = None
    resolution_level = None
    resize_shorter_side = None
    target_pixel_size = None
    remote = False
    simulated = False
    root = None
    notes = ()
    origin = None
    opened_with = {}  # what opens it again, beside its origin
    remedy_for_missing = "Check the paths in the table and the data root."
    _plane_numbers = None
    _named_channels = None

    @property
    def place(self):
        """The folder, or whatever tells it from others, under which its images are remembered."""
        return self.root or self.origin or self.valset

    @property
    def reading(self):
        """How its files are read: the arguments of `images.read_image` that it decides."""
        return {
            "channel_axis": self.channel_axis,
            "plane": self.plane,
            "timepoint": self.timepoint,
        }

    @cached_property
    def pixel_size(self):
        """The size in µm of the pixels of most images; None where it is not known.

        The column ``pixel_size`` says it, and where it is blank the files do, of which some are
        opened.
        """
        usual, count = next(iter(self.pixel_sizes.items()), (None, 0))
        if 2 * count <= len(self._pixels):
            return None
        return next(size for size, _ in self._pixels if size and _rounded(size) == usual)

    @property
    def read_pixel_size(self):
        """As `pixel_size`, of the images as they are read: rescaled, or shrunk."""
        if self.target_pixel_size is not None or self.resize_shorter_side is None:
            return self.target_pixel_size or self.pixel_size
        if self.pixel_size is None:
            return None
        sides = Counter((one.height, one.width) for _, one in self._pixels if one)
        height, width = sides.most_common(1)[0][0] if sides else (1, 1)
        shrunk = images.shrunk_sides(height, width, self.resize_shorter_side)
        return self.pixel_size * min(height, width) / min(shrunk)

    @property
    def pixel_sizes(self):
        """{size of a pixel in µm: sites that have it}, of those that were looked at and know it;
        in three digits, the most frequent first."""
        known = Counter(_rounded(size) for size, _ in self._pixels if size is not None)
        return dict(known.most_common())

    @cached_property
    def _pixels(self):
        """(size of a pixel or None, header or None) of some sites, evenly spaced."""
        count = len(self.metadata)
        rows = np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(int)).tolist()
        files = [self.paths(row)[0] for row in rows]
        asked = remote.to_ask(dict.fromkeys(files))
        headers = images.image_headers(
            asked, alone=not self.is_merged, dataset=self.place, **self.reading
        )
        told = {
            file: None if isinstance(h, str) else h for file, h in zip(asked, headers, strict=True)
        }
        return [
            (self.stated_pixel_size(row) or (told[file] and told[file].pixel_size), told[file])
            for row, file in zip(rows, files, strict=True)
            if file in told
        ]

    def stated_pixel_size(self, i):
        """The size in µm of the pixels of row `i` by the column ``pixel_size``, or None."""
        if "pixel_size" not in self.metadata.columns:
            return None
        value = self.metadata["pixel_size"].iat[i]
        return None if pd.isna(value) else float(value)

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

    def files(self, rows=None):
        """Files of many rows, all by default, as `paths` has those of one.

        Parameters
        ----------
        rows : sequence of int, optional

        Yields
        ------
        list of str
        """
        paths = self.metadata["path"]
        for path in paths if rows is None else paths.iloc[np.asarray(rows, int)]:
            yield [str(p) for p in path] if isinstance(path, list | tuple) else [str(path)]

    @property
    def described(self):
        """The table without the columns that say where files lie."""
        return self.metadata.drop(columns=[*tables.FILE_COLUMNS], errors="ignore")

    def illumination(self, i):
        """Files of the illumination functions of row `i`, one or None a channel."""
        if "illumination" not in self.metadata.columns:
            return [None] * (1 if self.single_channel_metadata else len(self.channels))
        return [None if f is None else str(f) for f in self.metadata["illumination"].iat[i]]

    def illumination_files(self, rows=None):
        """Files of the illumination functions of many rows, all by default; each once, in order."""
        if "illumination" not in self.metadata.columns:
            return []
        given = self.metadata["illumination"]
        given = given if rows is None else given.iloc[np.asarray(rows, int)]
        return [str(file) for file in dict.fromkeys(chain.from_iterable(given)) if file is not None]

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

    def named_channels(self, selection):
        """{new name: name} of the channels that a selection asks for; see `select_channels`."""
        if isinstance(selection, str):
            selection = [part.strip() for part in selection.split(",") if part.strip()]
            selection = [p.split("=", 1) if "=" in p else (p, p) for p in selection]
        elif not isinstance(selection, dict):
            selection = [(name, name) for name in selection]
        names = [new for new, _ in selection] if isinstance(selection, list) else [*selection]
        selection = dict(selection)
        if len(selection) < len(names):
            raise ValueError(f"channels names a channel twice: {', '.join(map(str, names))}.")
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
        return selection

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
        selection = self.named_channels(selection)
        numbers = [self.channels.index(old) for old in selection.values()]
        by_channel = [] if self.is_merged else ["path"]
        if "illumination" in self.metadata.columns:
            by_channel.append("illumination")
        frame = self.metadata.copy()
        for name in by_channel:
            frame[name] = [
                [file for number in numbers for file in files[number]]
                for files in self._by_channel(frame[name], name)
            ]
        self.metadata = frame
        if self.is_merged:
            planes = self._plane_numbers or list(range(len(self.channels)))
            self._plane_numbers = [planes[number] for number in numbers]
        self.channels = list(selection)

    def _by_channel(self, column, name):
        """The files of every row's channels, a list a channel."""
        count = self.files_per_channel if name == "path" else 1
        for files in column:
            yield [files[i : i + count] for i in range(0, len(files), count)]

    def to_single_channel(self):
        """The table with one row an image and channel.

        Returns
        -------
        pd.DataFrame
            ``path`` (its file, or the list of them where it has several) and ``channel`` (its
            name), then the other columns; of ``illumination`` a list of one.
        """
        if self.single_channel_metadata:
            return self.metadata
        count = len(self.channels)
        frame = self.metadata
        rows = frame.loc[frame.index.repeat(count)].reset_index(drop=True)
        if self.is_merged:
            paths = rows["path"]
        else:
            files = chain.from_iterable(self._by_channel(frame["path"], "path"))
            paths = [own[0] if self.files_per_channel == 1 else own for own in files]
        rest = rows.drop(columns=["path", "channel"], errors="ignore")
        rest.insert(0, "path", pd.Series(paths, rest.index, dtype=object))
        rest.insert(1, "channel", np.tile(np.array(self.channels, dtype=object), len(frame)))
        if "illumination" in rest:
            rest["illumination"] = [[file] for files in frame["illumination"] for file in files]
        return rest

    def as_single_channel(self):
        """Turn this metadata into single-channel metadata, in place."""
        self.metadata = self.to_single_channel()
        self._named_channels = self.channels
        self.single_channel_metadata = True

    def note(self, message):
        """Say something about the data that whoever reads the results must know, and keep it."""
        self.notes = (*self.notes, message)
        say(f"{self.valset}: {message}")

    def validate(self, check_files=True, max_missing=0.0):
        """Check the contract and, where asked, that the files are there. Keys become text.

        Parameters
        ----------
        check_files : bool
        max_missing : float
            See `check_files`.

        Raises
        ------
        AttributeError
            One of the four published attributes is missing.
        ValueError
            An empty table, missing columns, duplicate rows, mixed channel counts, labels that
            differ within a well; names them.
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
        self.metadata = tables.keys_as_text(frame)
        self._check_paths()
        if self.channels is None:
            self.channels = self._default_channels()
        else:
            self.channels = list(self.channels)
        self._check_names()
        self._check_illumination()
        self._check_pixel_sizes()
        self._check_keys()
        self._check_rows()
        self._check_labels()
        if check_files:
            self.check_files(max_missing)

    def _check_paths(self):
        frame = self.metadata
        several = self.files_per_channel > 1
        several |= not (self.is_merged or self.single_channel_metadata)
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
        files = map(str, chain.from_iterable(frame["path"]) if several else frame["path"])
        by_channel = self.single_channel_metadata and "channel" in frame.columns
        if by_channel:
            of_files = frame["channel"].astype(str).repeat(self.files_per_channel)
            files = zip(files, of_files, strict=True)
        if may_repeat(files):
            self._check_images(several, by_channel)
        self._check_elsewhere()

    def _check_elsewhere(self):
        """Stop where files lie elsewhere and may not be fetched, or cannot be."""
        several = not (self.is_merged or self.single_channel_metadata)
        paths = self.metadata["path"]
        paths = chain.from_iterable(paths) if several else paths
        elsewhere = list(filter(remote.is_remote, chain(paths, self.illumination_files())))
        if elsewhere and not self.remote:
            raise ValueError(f"{self.valset}: {remote.allowance(elsewhere)}")
        if elsewhere:
            remote.check(elsewhere)

    def _check_images(self, several, by_channel):
        """Stop where rows are of the same images, or a file is listed twice."""
        frame = self.metadata
        names = frame["path"].map(lambda p: "|".join(map(str, p)) if several else str(p))
        if by_channel:
            names = names + "|" + frame["channel"].astype(str)
        repeated = names.duplicated(keep=False)
        if repeated.any():
            first, second = np.flatnonzero(names == names[repeated].iat[0])[:2] + 1
            raise ValueError(
                f"{self.valset}: {int(repeated.sum())} rows repeat the images of another row; the "
                f"first are rows {first} and {second}: {names[repeated].iat[0]}. Remove one."
            )
        if several:
            self._check_files_of_one_channel()

    def _check_files_of_one_channel(self):
        files = pd.Series([str(file) for row in self.metadata["path"] for file in row])
        repeated = files.duplicated(keep=False)
        if not repeated.any():
            return
        count = len(files) // len(self.metadata)
        planes = self.files_per_channel
        names = self.channels or [f"ch{i + 1}" for i in range(count // planes)]
        names = [name for name in names for _ in range(planes)]
        file = files[repeated].iat[0]
        (row, channel), (other, second) = (
            divmod(int(i), count) for i in np.flatnonzero(files == file)[:2]
        )
        raise ValueError(
            f"{self.valset}: {file} is channel {names[channel]} of row {row + 1} and channel "
            f"{names[second]} of row {other + 1}. Give every channel a file of its own; images "
            "that hold all channels belong in a column path."
        )

    def _check_names(self):
        """Stop on columns named like those that our tables add."""
        taken = {name.lower() for name in added_columns(self.channels)}
        for name in self.inference_metadata_columns:
            if str(name).lower() in taken:
                raise ValueError(
                    f"{self.valset}: the tables of results have a column {str(name).lower()} of "
                    f"their own. Rename the dataset's {name}, such as to {self.valset}_{name}."
                )

    def _check_illumination(self):
        if "illumination" not in self.metadata.columns:
            return
        if "illumination" in self.inference_metadata_columns:
            raise ValueError(
                f"{self.valset}: the column illumination is that of illumination functions. Rename "
                f"the dataset's, such as to {self.valset}_illumination."
            )
        count = 1 if self.single_channel_metadata else len(self.channels)
        for i, files in enumerate(self.metadata["illumination"]):
            fits = isinstance(files, list | tuple) and len(files) == count
            if not fits or not all(f is None or isinstance(f, str | os.PathLike) for f in files):
                raise ValueError(
                    f"{self.valset}: the column illumination of row {i + 1} holds {files!r}; "
                    f"expected a list of {count}: the file of a channel's illumination function, "
                    "or None, for each of its channels."
                )

    def _check_pixel_sizes(self):
        """Stop where the column ``pixel_size`` holds anything but lengths; they become numbers."""
        if "pixel_size" not in self.metadata.columns:
            return
        given = self.metadata["pixel_size"]
        sizes = pd.to_numeric(given, errors="coerce").astype(float)
        wrong = (given.notna() & ~((sizes > 0) & np.isfinite(sizes))).to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(
                f"{self.valset}: the column pixel_size of row {row + 1} holds {given.iat[row]!r}; "
                "expected the size of a pixel in µm, a number above 0, or nothing "
                f"({int(wrong.sum())} such rows)."
            )
        self.metadata = self.metadata.assign(pixel_size=sizes)

    def _check_keys(self):
        frame = self.metadata
        for name in self.key_columns:
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

    def _check_rows(self):
        """Stop where two rows are the same site of a well."""
        frame = self.metadata
        if not {"well", "site"} <= set(self.key_columns):
            return
        keys = list(self.key_columns)
        if self.single_channel_metadata and "channel" in frame.columns:
            keys.append("channel")
        repeated = frame.duplicated(keys, keep=False)
        if not repeated.any():
            return
        row = int(np.flatnonzero(repeated)[0])
        same = (frame[keys].fillna("") == frame[keys].fillna("").iloc[row]).all(axis=1)
        first, second = np.flatnonzero(same)[:2] + 1
        others = [c for c in self.inference_metadata_columns if c not in keys]
        apart = [c for c in others if not frame.duplicated([*keys, c]).any()]
        told = f"They differ in {', '.join(apart[:3])}. " if apart else ""
        raise ValueError(
            f"{self.valset}: rows {first} and {second} are both {self._words(row, keys)} "
            f"({int(repeated.sum())} such rows). {told}A row is a site: keep one plane, time or "
            "version of each, or tell other fields, plates or batches apart by a column site, "
            "plate or batch."
        )

    def _check_labels(self):
        """Stop where a label is not the same in all rows of a well; numbers are noted."""
        frame, wells = self.metadata, self.well_columns
        if not wells:
            return
        labels = [c for c in self.inference_metadata_columns if c not in self.key_columns]
        varied = variation(frame, wells, labels)
        of_sites = [column for column, found in varied.items() if found.of_rows]
        if of_sites:
            say(
                f"{self.valset}: {', '.join(of_sites)} differ within most wells: they describe "
                "sites, and reach no well's profile"
            )
        for column, found in varied.items():
            if found.of_rows:
                continue
            rows = [np.flatnonzero(self._same_well(row)) for row in found.rows[:3]]
            told = "; ".join(
                f"{self._words(members[0], wells)} has "
                + ", ".join(_shown(value) for value in frame[column].iloc[members].unique()[:4])
                for members in rows
            )
            message = (
                f"the column {column} is not the same in all rows of {len(found.rows)} wells: "
                f"{told}{' …' if len(found.rows) > 3 else ''}"
            )
            if pd.api.types.is_numeric_dtype(frame[column]):
                self.note(f"{message}; it is missing in the profiles of these wells")
                continue
            raise ValueError(
                f"{self.valset}: {message}. Correct it; leave the column out if it describes sites."
            )

    def _same_well(self, row):
        wells = self.metadata[self.well_columns].fillna("")
        return (wells == wells.iloc[row]).all(axis=1).to_numpy()

    def _words(self, row, keys):
        return ", ".join(f"{key} {self.metadata[key].iat[row]}" for key in keys)

    def _default_channels(self):
        if self.single_channel_metadata:
            if "channel" not in self.metadata.columns:
                return ["ch1"]
            return [str(name) for name in dict.fromkeys(self.metadata["channel"])]
        if self.is_merged:
            count = self._usual_channels()
        else:
            count = len(self.paths(0)) // self.files_per_channel
        return [f"ch{i + 1}" for i in range(count)]

    def check_files(self, max_missing=0.0):
        """Check that the image files are there, and that merged ones have the same channels.

        Parameters
        ----------
        max_missing : float
            Share of the files that may be missing, 0 to 1: they are counted and the first are
            named in `notes`, and the run goes on.

        Raises
        ------
        FileNotFoundError
            All files, or more than this share, are missing: how many, and the first few. An
            illumination function is missing.
        ValueError
            Mixed channel counts.
        """
        functions = self.illumination_files()
        if absent := missing_files(functions):
            shown = "\n  ".join(absent[:3])
            raise FileNotFoundError(
                f"{self.valset}: {len(absent):,} of {len(functions):,} illumination functions are "
                f"missing, the first are\n  {shown}\nCheck their paths, or set "
                "illumination='none' to take the images as they are."
            )
        files = list(chain.from_iterable(self.files()))
        absent, count = missing_files(files), len(files)
        if absent:
            shown = "\n  ".join(absent[:3])
            told = f"{len(absent):,} of {count:,} image files are missing, the first are"
            if len(absent) == count or len(absent) > max_missing * count:
                share = f" At most {max_missing:.0%} may be missing (max_missing)."
                share = share if max_missing else ""
                raise FileNotFoundError(
                    f"{self.valset}: {told}\n  {shown}\n{self.remedy_for_missing}{share}"
                )
            self.note(f"{told} {', '.join(absent[:3])}; their sites are recorded as failed")
        if self.is_merged and not self.single_channel_metadata:
            self._check_channel_count()

    def _usual_channels(self):
        """How many channels most merged files hold; the others are recorded with their sites."""
        files = remote.to_ask(dict.fromkeys(paths[0] for paths in self.files()))
        headers = images.image_headers(files, dataset=self.place, **self.reading)
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


def _rounded(size):
    return float(f"{size:.3g}")


def added_columns(channels):
    """Bare names of the columns that the tables of results have of their own.

    Parameters
    ----------
    channels : list of str

    Returns
    -------
    list of str
    """
    measures = [f"{name}_{channel}" for name in quality.CHANNEL_MEASURES for channel in channels]
    counts = [f"{name}{kind}" for name in _COUNTED for kind in ("", "_empty", "_failed")]
    return [*_ADDED, *counts, *quality.SITE_MEASURES, *measures]


def _shown(value):
    if pd.isna(value):
        return "nothing"
    return repr(value.item() if isinstance(value, np.generic) else value)
