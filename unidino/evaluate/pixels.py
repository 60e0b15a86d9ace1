"""Which pixels a channel's embedding rests on, and whether that can be believed.

Occlusion asks what each patch of a tile adds to the way from the controls to a treatment; attention
roll-out tells where a vision transformer looks. Both are orders of patches: the first of a good one
take the treatment away when they are deleted, and bring it back when they are inserted.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from .. import arguments, dataset, intensity, tables
from ..embedding import channel_groups
from ..profiles.aggregation import aggregate

LEAST_TILES = 4
"""Tiles of the controls, and of the treatment, below which there is no way between them."""

ALL_CELLS = 0.99
"""Share of a tile's pixels that lie on cells from which on it is all cells."""

DARKEST = 0.05
"""Where a tile is all cells, this share of its pixels, the darkest, stands for its background."""


class NoAttention(ValueError):
    """The model is no vision transformer: where it looks cannot be asked."""


@dataclass(frozen=True)
class Axis:
    """The way from the controls to a treatment, in the embeddings of one channel.

    Attributes
    ----------
    origin, weights : numpy.ndarray
        (D,).
    """

    origin: np.ndarray
    weights: np.ndarray

    def __call__(self, embeddings):
        """How far embeddings (n, D) are on the way: 0 the controls' mean, 1 the treatment's."""
        return (embeddings - self.origin) @ self.weights


def axis(controls, treated):
    """The way from the mean of control tiles to that of treated ones.

    What the controls differ by among themselves, such as how many cells a tile holds, counts
    little (Fisher's direction); their covariance is shrunk, for tiles may be fewer than features.

    Parameters
    ----------
    controls, treated : numpy.ndarray
        (n, D) embeddings of tiles.

    Returns
    -------
    Axis

    Raises
    ------
    ValueError
        Fewer than `LEAST_TILES`; controls that are all alike, or a treatment that lies where they
        do.

    Source: Fisher 1936 (doi 10.1111/j.1469-1809.1936.tb02137.x); shrinkage: Ledoit and Wolf 2004
    (doi 10.1016/S0047-259X(03)00096-4).
    """
    from sklearn.covariance import ledoit_wolf

    for name, tiles in (("controls", controls), ("treatment", treated)):
        if len(tiles) < LEAST_TILES:
            raise ValueError(
                f"{len(tiles)} tiles of the {name} are too few for a direction; give "
                f"{LEAST_TILES} or more."
            )
    controls = np.asarray(controls, float)
    origin = controls.mean(0)
    step = np.asarray(treated, float).mean(0) - origin
    covariance, _ = ledoit_wolf(controls)
    if not np.trace(covariance) > 0:
        raise ValueError("the tiles of the controls are all alike: nothing to measure a way by.")
    weights = np.linalg.solve(covariance, step)
    length = weights @ step
    if not length > 0:
        raise ValueError("the treatment's tiles lie where the controls' do: there is no way there.")
    return Axis(origin, weights / length)


def rows_of(metadata, wells):
    """The sites of some wells.

    Parameters
    ----------
    metadata : Metadata
    wells : pd.DataFrame
        Profiles with the columns that name a well in the dataset.

    Returns
    -------
    list of int
        Rows of the dataset's table.

    Raises
    ------
    ValueError
        No site lies in any of the wells.
    """
    names = metadata.well_columns
    own = wells[[tables.find_column(wells, name) for name in names]].astype(str)
    asked = pd.MultiIndex.from_frame(own)
    known = pd.MultiIndex.from_frame(metadata.metadata[names].astype(str))
    rows = np.flatnonzero(known.isin(asked))
    if not len(rows):
        raise ValueError(
            f"no site of {metadata.valset} lies in the {len(wells)} wells, such as "
            f"{' '.join(own.iloc[0]) if len(own) else 'none'}: are these profiles of its images?"
        )
    return rows.tolist()


def every_second_plate(metadata):
    """The rows of the second, fourth … plate of a dataset, as a set."""
    return {int(row) for rows in list(metadata.plates().values())[1::2] for row in rows}


def _plates(metadata, rows, model, statistics):
    """Of each plate: its rows, their `dataset.SiteTiles` chosen by any channel, its statistics."""
    wanted = set(rows)
    by_plate = dataset.statistics_by_plate(metadata, statistics)
    for key, members in metadata.plates().items():
        here = [int(row) for row in members if int(row) in wanted]
        if not here:
            continue
        own = by_plate[key]
        reader = dataset.SiteTiles(
            dataset.subset(metadata, here),
            own.reset_index(),
            size=model.config.size,
            foreground_channel="any",
            on_error="raise",
            with_limits=model.config.intensity == "image",
        )
        yield here, reader, own


def read_tiles(metadata, rows, model, statistics):
    """Tiles of sites as a model sees them, and which of their pixels are cells.

    Tiles are chosen by any channel: a choice by one would hide what another shows.

    Parameters
    ----------
    metadata : Metadata
    rows : sequence of int
        Sites, by their row.
    model : EmbeddingModel
        Whose tile size and scaling of intensities are taken.
    statistics : pd.DataFrame
        From `dataset.plate_statistics` of the dataset.

    Yields
    ------
    row : int
    tiles : torch.Tensor
        (tiles, C, h, w) float32, 0 to 1.
    cells : numpy.ndarray of bool
        (tiles, h, w): above the background of the plate in at least one channel.

    Raises
    ------
    images.ImageError
        A site that cannot be read.
    """
    for here, reader, own in _plates(metadata, rows, model, statistics):
        background = own["threshold"].to_numpy()[:, None, None]
        for number, row in enumerate(here):
            item = reader[number]
            low, high = intensity.site_limits(item, own, model.config.intensity)
            cells = (item["tiles"].numpy() > background).any(1)
            yield row, intensity.scale(item["tiles"], low, high), cells


def left_out_tiles(profiles):
    """How many tiles of each well an extraction left out: numbers, 0 where the table tells none.

    Parameters
    ----------
    profiles : pd.DataFrame

    Returns
    -------
    pd.Series
    """
    if "Metadata_tiles_kept" not in profiles:
        return pd.Series(0, profiles.index)
    return profiles["Metadata_tiles"] - profiles["Metadata_tiles_kept"]


def by_any_channel(profiles, metadata, embedder, statistics):
    """Profiles as they are where tiles are chosen by any channel.

    A choice by one channel tells the others where to look. Wells that had all their tiles have the
    same ones then; only the others are embedded again.

    Parameters
    ----------
    profiles : pd.DataFrame
        Of an extraction by the same model, not normalised: means of sites.
    metadata : Metadata
    embedder : Embedder
    statistics : pd.DataFrame
        As of `read_tiles`.

    Returns
    -------
    pd.DataFrame
        The same rows and columns.
    """
    model = embedder.model
    again = profiles[left_out_tiles(profiles) > 0]
    if again.empty:
        return profiles
    groups = channel_groups(model, metadata.channels)
    names = [f"emb_{group}_{i:04d}" for group in groups for i in range(model.embedding_dim)]
    parts = []
    for here, reader, own in _plates(metadata, rows_of(metadata, again), model, statistics):

        def limits(item, own=own):
            return intensity.site_limits(item, own, model.config.intensity)

        alone = ([reader[number]] for number in range(len(here)))
        embedded = [site for group in embedder.sites(alone, limits) for site in group]
        made = [(item, values.ravel()) for item, values in embedded]
        keys = metadata.metadata.iloc[here][metadata.well_columns].reset_index(drop=True)
        status = pd.Series(["empty" if item["empty"] else "ok" for item, _ in made])
        keys = tables.prefixed(keys).astype(str).assign(Metadata_status=status)
        parts.append(keys.join(pd.DataFrame([values for _, values in made], columns=names)))
    sites = pd.concat(parts, ignore_index=True)
    columns = [tables.metadata_name(name) for name in metadata.well_columns]
    wells = aggregate(sites, columns).set_index(columns)
    places = pd.MultiIndex.from_frame(again[columns].astype(str))
    remade = profiles.copy()
    remade.loc[again.index, names] = wells.reindex(places)[names].to_numpy()
    return remade


@dataclass(frozen=True)
class Case:
    """A treatment as one channel sees it, and tiles that its axis has not seen.

    Attributes
    ----------
    axis : Axis
    fitted : (int, int)
        Tiles of the controls and of the treatment that the axis was made of.
    position : (float, float)
        Where held-out tiles of the controls and of the treatment lie on it, on average: 0 and 1
        where it holds beyond the tiles that it was made of.
    apart : float
        Probability that a held-out treated tile lies further on the way than a control: 0.5 where
        the axis tells nothing.
    control : (torch.Tensor, numpy.ndarray)
        The held-out control tile nearest to 0: (h, w), and its cells (h, w).
    treated : list of (torch.Tensor, numpy.ndarray)
        The held-out treated tiles that lie furthest on the way.
    """

    axis: Axis
    fitted: tuple
    position: tuple
    apart: float
    control: tuple
    treated: list


def case(read, embed, channel, controls, treated, held, count=1):
    """An axis from some sites, and tiles of others to look at.

    Parameters
    ----------
    read : dict of int to (torch.Tensor, numpy.ndarray)
        Row of a site -> its tiles (n, C, h, w) and cells (n, h, w), of `read_tiles`.
    embed : callable
        (n, 1, h, w) torch.Tensor -> (n, D) numpy.ndarray.
    channel : int
        Number of the channel.
    controls, treated : sequence of int
        Rows of sites.
    held : collection of int
        Rows that are held out of the axis, such as those of other plates.
    count : int
        Treated tiles to look at.

    Returns
    -------
    Case

    Raises
    ------
    ValueError
        As `axis`; no held-out site of either.
    """
    arguments.check_positive("count", count)
    parts = {}
    for name, rows in (("controls", controls), ("treatment", treated)):
        for part, own in (
            ("fit", [row for row in rows if row not in held]),
            ("held", [row for row in rows if row in held]),
        ):
            if not own:
                which = "is held out" if part == "held" else "is left for the axis"
                raise ValueError(
                    f"no site of the {name} {which}: give sites of two plates or more."
                )
            planes = torch.cat([read[row][0][:, channel] for row in own])
            cells = np.concatenate([read[row][1] for row in own])
            parts[name, part] = planes, cells, embed(planes[:, None])
    way = axis(parts["controls", "fit"][2], parts["treatment", "fit"][2])
    places = {name: way(parts[name, "held"][2]) for name in ("controls", "treatment")}
    nearest = int(np.abs(places["controls"]).argmin())
    furthest = np.argsort(-places["treatment"], kind="stable")[:count]

    def tile(name, number):
        planes, cells, _ = parts[name, "held"]
        return planes[number], cells[number]

    return Case(
        way,
        tuple(len(parts[name, "fit"][0]) for name in ("controls", "treatment")),
        tuple(float(places[name].mean()) for name in ("controls", "treatment")),
        _apart(places["controls"], places["treatment"]),
        tile("controls", nearest),
        [tile("treatment", int(number)) for number in furthest],
    )


def _apart(low, high):
    """Share of pairs in which the second is higher; ties count half."""
    step = high[:, None] - low
    return float((step > 0).mean() + (step == 0).mean() / 2)


def all_cells(cells):
    """Whether a tile is all cells: there is too little beside them to draw or to tell them from.

    Parameters
    ----------
    cells : numpy.ndarray of bool
        (h, w).
    """
    return bool(np.mean(cells) >= ALL_CELLS)


def background(plane, cells, seed=0):
    """A tile of nothing but background: pixels drawn from those outside cells.

    Parameters
    ----------
    plane : torch.Tensor
        (h, w), 0 to 1.
    cells : numpy.ndarray of bool
        (h, w).
    seed : int

    Returns
    -------
    torch.Tensor
        (h, w), with the level and the noise of the background, and no structure. Where the tile is
        `all_cells`, its darkest pixels (`DARKEST`) are drawn.
    """
    values = plane.numpy()
    outside = values[~cells]
    if all_cells(cells):
        darkest = max(1, int(DARKEST * values.size))
        outside = np.sort(values, axis=None)[:darkest]
    drawn = np.random.default_rng(seed).choice(outside, values.shape)
    return torch.from_numpy(drawn.astype(np.float32))


def patch_numbers(shape, patch):
    """The number of the patch that each pixel lies in.

    Parameters
    ----------
    shape : (int, int)
    patch : int
        Side, pixels; at the far ends patches are smaller where it does not divide the tile.

    Returns
    -------
    numbers : numpy.ndarray of int
        (h, w), 0 to rows x columns - 1, row by row.
    grid : (int, int)
        Rows and columns.
    """
    arguments.check_positive("patch", patch)
    rows, columns = (np.arange(side) // patch for side in shape)
    grid = int(rows[-1]) + 1, int(columns[-1]) + 1
    return rows[:, None] * grid[1] + columns, grid


def _project(embed, axis, planes):
    return axis(embed(planes[:, None]))


def occlusion(embed, axis, plane, fill, patch):
    """What each patch adds: the score of a tile less that without the patch.

    Parameters
    ----------
    embed : callable
        (n, 1, h, w) torch.Tensor -> (n, D) numpy.ndarray.
    axis : Axis
    plane : torch.Tensor
        (h, w), 0 to 1.
    fill : torch.Tensor
        (h, w), from `background`: what stands where a patch is taken away.
    patch : int
        Side of a patch, pixels.

    Returns
    -------
    numpy.ndarray
        (rows, columns): as a part of the way from controls to treatment; positive where the patch
        speaks for the treatment.

    Source: Zeiler and Fergus 2014 (doi 10.1007/978-3-319-10590-1_53).
    """
    numbers, grid = patch_numbers(plane.shape, patch)
    numbers = torch.from_numpy(numbers)
    without = [torch.where(numbers == n, fill, plane) for n in range(grid[0] * grid[1])]
    scores = _project(embed, axis, torch.stack([plane, *without]))
    return (scores[0] - scores[1:]).reshape(grid)


def rollout(model, tiles, patch):
    """Where the tokens that a vision transformer is read from have looked, through all layers.

    Parameters
    ----------
    model : EmbeddingModel
        It computes attention without fusing it meanwhile, the same numbers up to rounding.
    tiles : torch.Tensor
        (B, in_chans, h, w), 0 to 1.
    patch : int
        Side of a patch of the result, pixels: the model's own or a multiple of it.

    Returns
    -------
    numpy.ndarray
        (B, rows, columns), each sums to 1. Of the CLS token, of all patch tokens, or of both alike,
        as the model's pooling reads them.

    Raises
    ------
    NoAttention
        Any other network.
    ValueError
        Another patch.

    Source: Abnar and Zuidema 2020 (doi 10.18653/v1/2020.acl-main.385): of each layer half the mean
    over heads, half the residual connection.
    """
    layers = [getattr(block, "attn", None) for block in getattr(model.backbone, "blocks", ())]
    if not layers or not all(hasattr(layer, "fused_attn") for layer in layers):
        raise NoAttention(
            f"{model.name} ({model.config.arch}) has no attention that could be rolled out; "
            "that takes a vision transformer. Occlusion works with every model."
        )
    seen = []
    fused = [layer.fused_attn for layer in layers]
    hooks = [
        layer.attn_drop.register_forward_hook(lambda _, entered, left: seen.append(left.mean(1)))
        for layer in layers
    ]
    try:
        for layer in layers:
            layer.fused_attn = False
        with torch.inference_mode():
            prefix, grid = model.tokens(model.prepared(tiles))
    finally:
        for layer, before, hook in zip(layers, fused, hooks, strict=True):
            layer.fused_attn = before
            hook.remove()
    flow = torch.eye(seen[0].shape[-1])
    for attention in seen:
        flow = (attention.float().cpu() + torch.eye(attention.shape[-1])) / 2 @ flow
    count = prefix.shape[1]
    read = {"cls": flow[:, 0], "mean": flow[:, count:].mean(1), "max": flow[:, count:].mean(1)}
    flow = torch.stack([read[name] for name in model.poolings]).mean(0)[:, count:]
    flow = (flow / flow.sum(1, keepdim=True)).reshape(len(tiles), *grid.shape[2:])
    own = tiles.shape[2] // grid.shape[2]
    if patch % own or tiles.shape[2] % patch or tiles.shape[3] % patch:
        raise ValueError(
            f"patch is {patch}; it must be a multiple of the model's {own} pixels that divides a "
            f"tile of {tiles.shape[2]} x {tiles.shape[3]}."
        )
    times = patch // own
    rows, columns = (side // times for side in flow.shape[1:])
    return flow.reshape(len(tiles), rows, times, columns, times).sum((2, 4)).numpy()


def deletion(embed, axis, plane, fill, order, patch, step=1):
    """Scores of a tile as its patches are taken away one after another.

    Parameters
    ----------
    embed, axis, plane, fill, patch
        As of `occlusion`.
    order : numpy.ndarray of int
        Numbers of all patches (`patch_numbers`), the first to go first.
    step : int
        Patches between two scores.

    Returns
    -------
    numpy.ndarray
        (steps + 1,): of the whole tile first, of its background last.

    Source: Petsiuk, Das and Saenko 2018 (arXiv:1806.07421).
    """
    arguments.check_positive("step", step)
    numbers, grid = patch_numbers(plane.shape, patch)
    order = np.asarray(order)
    if sorted(order.tolist()) != list(range(grid[0] * grid[1])):
        raise ValueError(
            f"the order names {len(order)} patches; it must name each of the {grid[0] * grid[1]} "
            "once."
        )
    place = torch.from_numpy(np.argsort(order)[numbers])
    gone = [*range(0, len(order), step), len(order)]
    return _project(embed, axis, torch.stack([torch.where(place < n, fill, plane) for n in gone]))


def insertion(embed, axis, plane, fill, order, patch, step=1):
    """Scores of a tile's background as its patches are put back one after another; see `deletion`.

    Returns
    -------
    numpy.ndarray
        (steps + 1,): of the background first, of the whole tile last.
    """
    return deletion(embed, axis, fill, plane, order, patch, step)


def area(curve):
    """Area below a curve over the share of patches, 0 to 1: its mean height."""
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def cell_share(importance, cells, patch):
    """The share of what is attributed that lies on cells.

    Parameters
    ----------
    importance : numpy.ndarray
        (rows, columns); only what speaks for the treatment, above 0, counts.
    cells : numpy.ndarray of bool
        (h, w).
    patch : int

    Returns
    -------
    share : float
        0 to 1; not a number where nothing is above 0.
    even : float
        Share of cells in the tile: what an attribution without preference has.
    """
    numbers, grid = patch_numbers(cells.shape, patch)
    pixels = np.bincount(numbers.ravel())
    covered = np.bincount(numbers.ravel(), cells.ravel()) / pixels
    weight = np.maximum(importance, 0).ravel()
    total = weight.sum()
    share = float(weight @ covered / total) if total else float("nan")
    return share, float(covered.mean())


def examined(embed, axis, plane, fill, cells, importance, patch, *, step=1, orders=19, seed=0):
    """Whether what is attributed to patches can be believed: each attribution against chance.

    Parameters
    ----------
    embed, axis, plane, fill, patch, step
        As of `deletion`.
    cells : numpy.ndarray of bool
        (h, w), of `read_tiles`.
    importance : dict of str to numpy.ndarray
        Name of an attribution -> (rows, columns), such as of `occlusion` and `rollout`.
    orders : int
        Random orders of the patches that it is compared with; 19 make 0.05 the smallest p-value.
    seed : int

    Returns
    -------
    scores : pd.DataFrame
        One row an attribution and test: attribution, test ("deletion", "insertion": area below the
        curve, better where low and where high; "on cells": `cell_share`, better where high), value,
        random (mean), random_low and random_high (over the orders), p_value (share of the random
        orders that are at least as good, itself counted among them), cells (their share of the
        tile). Where the tile is `all_cells`, "on cells" is not asked and its values are missing:
        every order would lie on cells.
    curves : pd.DataFrame
        attribution ("random" is the mean over the orders), test, patches (share), score.

    Raises
    ------
    ValueError
        An attribution of other patches.
    """
    arguments.check_positive("orders", orders)
    _, grid = patch_numbers(plane.shape, patch)
    for name, given in importance.items():
        if np.shape(given) != grid:
            raise ValueError(
                f"{name} has {np.shape(given)} patches; a patch of {patch} pixels makes {grid}."
            )
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(grid[0] * grid[1]) for _ in range(orders)]
    chance = np.array([deletion(embed, axis, plane, fill, o, patch, step) for o in drawn])
    # A random order is as random from behind: put back in that order, it is an insertion.
    random = {"deletion": chance, "insertion": chance[:, ::-1]}
    scores, curves = [], []
    for name, given in importance.items():
        order = np.argsort(-np.ravel(given), kind="stable")
        for test, run, sign in (("deletion", deletion, -1), ("insertion", insertion, 1)):
            curve = run(embed, axis, plane, fill, order, patch, step)
            areas = np.array([area(other) for other in random[test]])
            scores.append(_against(name, test, area(curve), areas, sign))
            curves += [(name, test, i / (len(curve) - 1), v) for i, v in enumerate(curve)]
        orders_of = [given, *(np.ravel(given)[order].reshape(grid) for order in drawn)]
        shares = np.array([cell_share(one, cells, patch)[0] for one in orders_of])
        if all_cells(cells):
            shares[:] = np.nan
        scores.append(_against(name, "on cells", shares[0], shares[1:], 1))
    for test, runs in random.items():
        mean = runs.mean(0)
        curves += [("random", test, i / (len(mean) - 1), v) for i, v in enumerate(mean)]
    columns = ["attribution", "test", "patches", "score"]
    scores = pd.DataFrame(scores).assign(cells=float(np.mean(cells)))
    return scores, pd.DataFrame(curves, columns=columns)


def _against(name, test, value, random, sign):
    as_good = (sign * random >= sign * value - 1e-12).sum()
    return {
        "attribution": name,
        "test": test,
        "value": value,
        "random": random.mean(),
        "random_low": random.min(),
        "random_high": random.max(),
        "p_value": (1 + as_good) / (1 + len(random)) if np.isfinite(value) else np.nan,
    }
