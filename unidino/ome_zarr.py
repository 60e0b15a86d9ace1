"""OME-Zarr 0.4 and 0.5: what plates, wells and images say of themselves, and the arrays they hold.

Groups and arrays are folders of this machine, or addresses of files elsewhere (see `remote`).
"""

import contextlib
import functools
import json
import os
import re
import warnings
from itertools import product
from typing import NamedTuple

import numpy as np

from . import remote

SUFFIX = ".zarr"

_VERSIONS = ("0.4", "0.5")
_GROUP_FILES = {"0.5": "zarr.json", "0.4": ".zattrs"}
_ARRAY_FILES = ("zarr.json", ".zarray")


class Level(NamedTuple):
    """A resolution of an image.

    Attributes
    ----------
    path : str
        Of its array, below the image's group.
    pixel : tuple
        ((height, unit), (width, unit)) of a pixel; a unit can be None.
    """

    path: str
    pixel: tuple


class Image(NamedTuple):
    """What the group of an image says.

    Attributes
    ----------
    axes : str
        A letter an axis of its arrays: T, C, Z, Y, X; another for an axis of its own kind.
    levels : list of Level
        From the full resolution on.
    names : tuple of str
        Of its channels; empty where they do not tell all apart.
    """

    axes: str
    levels: list
    names: tuple


def is_array(path):
    """Whether the path of an image names an array or a group of OME-Zarr, not a file, by its end
    alone."""
    return remote.is_folder(str(path))


def is_plate(path):
    """Whether a dataset is given by an OME-Zarr: an address or a folder that ends in `SUFFIX`, or a
    folder that describes a plate."""
    text = os.path.expanduser(str(path).rstrip("/"))
    if text.lower().endswith(SUFFIX):
        return True
    if remote.is_remote(text) or not os.path.isdir(text):
        return False
    with contextlib.suppress(ValueError, OSError):
        return "plate" in attributes(text)[1]
    return False


def read(path):
    """The bytes of a file of an OME-Zarr.

    Raises
    ------
    FileNotFoundError
        There is none.
    OSError, remote.RemoteError
        It cannot be read.
    """
    if remote.is_remote(path):
        try:
            path = remote.copy(path)
        except remote.AbsentError as error:
            raise FileNotFoundError(str(error)) from None
    with open(path, "rb") as file:
        return file.read()


def _first(folder, names):
    """(name, bytes) of the first of some files that is there."""
    refused = None
    for name in names:
        try:
            return name, read(f"{folder}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except remote.RefusedError as error:
            # So answer buckets that do not list their files, where there is none.
            refused = error
    raise refused or FileNotFoundError(f"{folder}: no such image.")


def _mapping(text, path):
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged metadata ({error}). Copy or convert it again.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: damaged metadata (no mapping). Copy or convert it again.")
    return content


def attributes(group, version=None):
    """What the group of a plate, well or image says.

    Parameters
    ----------
    group : str
    version : {"0.4", "0.5"}, optional
        Where it is known; both are looked for by default.

    Returns
    -------
    version : str
    content : dict
        With ``plate``, ``well`` or ``multiscales``.

    Raises
    ------
    FileNotFoundError
        No group of Zarr is there.
    ValueError
        Its metadata are damaged.
    """
    files = [_GROUP_FILES[version]] if version else _GROUP_FILES.values()
    name, text = _first(group, files)
    content = _mapping(text, f"{group}/{name}")
    if name == ".zattrs":
        return "0.4", content
    content = content.get("attributes", {})
    content = content.get("ome", {}) if isinstance(content, dict) else {}
    if not isinstance(content, dict):
        raise ValueError(f"{group}/{name}: damaged metadata (ome is no mapping).")
    return "0.5", content


@functools.cache
def _models():
    """The reference models of the metadata, {version: {kind: class}}."""
    try:
        import ome_zarr_models.v04.multiscales
        import ome_zarr_models.v04.plate
        import ome_zarr_models.v05.multiscales
        import ome_zarr_models.v05.plate
        from ome_zarr_models.exceptions import ValidationWarning
    except ImportError as error:
        raise _lacking(error) from None
    # They tell of what a writer forgot and readers can do without.
    warnings.filterwarnings("ignore", category=ValidationWarning)
    v04, v05 = ome_zarr_models.v04, ome_zarr_models.v05
    return {
        version: {
            "plate": models.plate.Plate,
            "multiscales": models.multiscales.Multiscale,
        }
        for version, models in (("0.4", v04), ("0.5", v05))
    }


def _lacking(error):
    return ImportError(
        f"OME-Zarr is read by zarr and ome-zarr-models, and {error.name} is not installed: "
        "pip install 'unidino[zarr]'."
    )


def checked(content, kind, version, group):
    """Metadata as the reference model of their kind.

    Parameters
    ----------
    content : dict
        From `attributes`.
    kind : {"plate", "multiscales"}
        Of the list of multiscales the first.
    version, group : str

    Raises
    ------
    ValueError
        They are not there, not valid, or of another version; names the group and the entry.
    """
    model = _models()[version][kind]
    if kind not in content:
        raise ValueError(f"{group}: its metadata describe no {kind}: {_entries(content)}.")
    given = content[kind]
    if kind == "multiscales":
        given = given[0] if isinstance(given, list) and given else given
    stated = given.get("version") if isinstance(given, dict) else None
    if stated is not None and str(stated) not in _VERSIONS:
        raise ValueError(
            f"{group}: is OME-Zarr {stated}; read are {' and '.join(_VERSIONS)}. Convert it again "
            "with a newer version of what wrote it."
        )
    if kind == "plate" and isinstance(given, dict):
        given = _of_use(given)
    try:
        return model.model_validate(given)
    except ValueError as error:
        first = error.errors()[0] if hasattr(error, "errors") else {"loc": (), "msg": str(error)}
        where = ".".join([kind, *map(str, first["loc"])])
        said = " ".join(str(first["msg"]).split())
        raise ValueError(
            f"{group}: damaged metadata: {where}: {said}. Copy or convert it again."
        ) from None


def _of_use(plate):
    """What is read of a plate, without counts and times that writers fill in as they like."""
    given = {name: value for name, value in plate.items() if name != "field_count"}
    listed = given.get("acquisitions")
    if isinstance(listed, list) and all(isinstance(one, dict) for one in listed):
        known = [{k: v for k, v in one.items() if k in ("id", "name")} for one in listed]
        given["acquisitions"] = known
    return given


def _entries(content):
    return f"it has {', '.join(map(str, content))}" if content else "it has none of OME-Zarr"


def fields(content, group):
    """What a well lists.

    Its names are taken as they are: the format has letters and digits alone, and software that adds
    images to a well writes others, such as 0_mip.

    Parameters
    ----------
    content : dict
        From `attributes`.
    group : str

    Returns
    -------
    list of (str, int or None)
        Name and acquisition of each image.

    Raises
    ------
    ValueError
    """
    well = content.get("well")
    if not isinstance(well, dict):
        raise ValueError(f"{group}: its metadata describe no well: {_entries(content)}.")
    listed = well.get("images")
    fits = isinstance(listed, list) and all(
        isinstance(one, dict)
        and isinstance(one.get("path"), str)
        and re.fullmatch(r"[^/\\.]+", one["path"])
        and isinstance(one.get("acquisition"), int | None)
        for one in listed
    )
    if not fits:
        raise ValueError(
            f"{group}: damaged metadata: well.images is no list of images with their path and "
            "acquisition. Copy or convert it again."
        )
    return [(one["path"], one.get("acquisition")) for one in listed]


def image(group, version=None):
    """What the group of an image says.

    Parameters
    ----------
    group : str
    version : {"0.4", "0.5"}, optional

    Returns
    -------
    Image

    Raises
    ------
    FileNotFoundError, ValueError
        No such group; damaged metadata.
    """
    version, content = attributes(group, version)
    return _image_of(content, version, group)


def _image_of(content, version, group):
    scales = content.get("multiscales")
    if isinstance(scales, list) and scales and isinstance(scales[0], dict):
        # The images of a plate say the same but for their names: it is checked once.
        told = {"multiscales": [{k: v for k, v in scales[0].items() if k != "name"}]}
        told |= {"omero": content["omero"]} if "omero" in content else {}
        with contextlib.suppress(ValueError):
            return _checked_once(json.dumps(told, sort_keys=True), version)
    return _understood(content, version, group)


@functools.lru_cache(maxsize=256)
def _checked_once(text, version):
    return _understood(json.loads(text), version, "")


def _understood(content, version, group):
    """What metadata say of an image."""
    scales = checked(content, "multiscales", version, group)
    letters = _letters(scales.axes)
    sides = [letters.index(side) for side in "YX"]
    units = [scales.axes[side].unit for side in sides]
    overall = _scale(scales.coordinateTransformations, len(letters))
    levels = []
    for dataset in scales.datasets:
        if ".." in dataset.path.split("/"):
            raise ValueError(f"{group}: its metadata name an array elsewhere ({dataset.path}).")
        own = _scale(dataset.coordinateTransformations, len(letters))
        lengths = [None if own is None or overall is None else own[i] * overall[i] for i in sides]
        levels.append(Level(dataset.path, tuple(zip(lengths, units, strict=True))))
    return Image(letters, levels, _names(content))


def _letters(axes):
    """A letter an axis: spaces are, from the last, width, height and depth."""
    kinds = {"time": "T", "channel": "C"}
    spaces = sum(axis.type == "space" for axis in axes)
    depth = iter("ZYX"[-spaces:])
    return "".join(next(depth) if a.type == "space" else kinds.get(a.type, "O") for a in axes)


def _scale(transforms, count):
    """Lengths of a step along every axis; None where they lie in another file."""
    scale = [1.0] * count
    for one in transforms or ():
        if one.type == "scale":
            if not hasattr(one, "scale"):
                return None
            scale = list(one.scale)
    return scale


def _names(content):
    """Labels of the channels, as viewers show them; () where they do not tell all apart."""
    told = content.get("omero")
    channels = told.get("channels") if isinstance(told, dict) else None
    if not isinstance(channels, list):
        return ()
    names = [one.get("label") if isinstance(one, dict) else None for one in channels]
    names = tuple(str(name).strip() if name is not None else "" for name in names)
    return names if all(names) and len({*names}) == len(names) else ()


def parted(path):
    """What an array is of: the image's metadata say where its group ends, as arrays can lie in
    folders of it.

    Parameters
    ----------
    path : str
        Of an array; of an image's group that ends in `SUFFIX`, its full resolution is meant.

    Returns
    -------
    group : str
    level : Level
    described : Image

    Raises
    ------
    FileNotFoundError
        There is nothing.
    ValueError
        No array of an image; damaged metadata.
    """
    path = str(path).rstrip("/")
    if path.lower().endswith(SUFFIX):
        described = image(path)
        return path, described.levels[0], described
    group, level = os.path.split(path)
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError):
            version, content = attributes(group)
            if "multiscales" in content:
                described = _image_of(content, version, group)
                found = [one for one in described.levels if one.path.strip("/") == level]
                if found:
                    return group, found[0], described
        group, parent = os.path.split(group)
        level = f"{parent}/{level}"
    if remote.is_remote(path) or not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such image.")
    raise ValueError("it is no array of an OME-Zarr image")


class Array(NamedTuple):
    """What the metadata of an array say."""

    shape: tuple
    dtype: np.dtype
    chunk: tuple  # the shape of what is decoded together


def array(path):
    """What the metadata of an array say, without opening it.

    Raises
    ------
    FileNotFoundError
        No array is there.
    ValueError
        Its metadata are damaged.
    """
    name, text = _first(path, _ARRAY_FILES)
    told = _mapping(text, f"{path}/{name}")
    try:
        if name == ".zarray":
            dtype, chunk = told["dtype"], told["chunks"]
        else:
            dtype, chunk = told["data_type"], told["chunk_grid"]["configuration"]["chunk_shape"]
        shape, chunk = ([int(n) for n in sizes] for sizes in (told["shape"], chunk))
        if len(shape) != len(chunk) or min(shape, default=0) < 0 or min(chunk, default=1) < 1:
            raise ValueError("shapes that are none")
        return Array(tuple(shape), np.dtype(dtype), tuple(chunk))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}/{name}: damaged metadata ({error!r}). Copy or convert it again."
        ) from None


def open_array(path):
    """An array, opened for reading.

    Parameters
    ----------
    path : str

    Returns
    -------
    zarr.Array

    Raises
    ------
    ImportError
        What reads it is not installed.
    """
    try:
        import zarr
        from zarr.storage import LocalStore
    except ImportError as error:
        raise _lacking(error) from None
    if remote.is_remote(path):
        from .zarr_store import RemoteStore

        store = RemoteStore(path)
    else:
        store = LocalStore(path, read_only=True)
    return zarr.open_array(store, mode="r")


def stored(path):
    """What an array consists of: the bytes that describe it, and its chunks.

    Chunks that are not stored hold the fill value.

    Parameters
    ----------
    path : str
        As `parted` takes it.

    Returns
    -------
    described : bytes
        Its metadata, axes and pixels.
    chunks : list of (str, int or None)
        Files in order, and their bytes; of an array elsewhere all that it can have, without.

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        It cannot be read.
    """
    group, level, image = parted(path)
    path = f"{group}/{level.path}"
    described = _first(path, _ARRAY_FILES)[1] + repr((image.axes, level.pixel)).encode()
    if remote.is_remote(path):
        return described, [(f"{path}/{name}", None) for name in _chunk_names(open_array(path))]
    found = []
    for folder, _, names in os.walk(path):
        files = (f"{folder}/{name}" for name in names if name not in (*_ARRAY_FILES, ".zattrs"))
        found += [(file, os.path.getsize(file)) for file in files]
    return described, sorted(found)


def _chunk_names(array):
    """The keys of all chunks of an array, whether they are stored or not."""
    sizes = array.shards or array.chunks
    counts = [-(-n // size) for n, size in zip(array.shape, sizes, strict=True)]
    return [array.metadata.encode_chunk_key(at) for at in product(*map(range, counts))]
