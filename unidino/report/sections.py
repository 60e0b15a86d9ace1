"""The parts of a report, from its head to its last table."""

import re

import numpy as np
import pandas as pd

from .. import __version__, quality, tables
from ..evaluate import maps, plate_quality
from ..pages import extraction, plate, plate_answers, plots
from . import svg
from .html import element, facts, page, prose, section, sentences, table
from .verdicts import (
    FAIL,
    LOOK,
    PASS,
    UNASKED,
    bare_wells,
    keys_of,
    plain,
    reachable,
    shortened,
)

# What an error says of a file begins with its name.
_FILE = re.compile(r"([^:]*[^:\s]\.\w{2,5}): ")

ROWS = 1536
"""Rows of the last table, and marks of the map, at most: the wells of the largest usual plate."""

SIGNS = {PASS: "✓", LOOK: "!", FAIL: "✕", UNASKED: "–"}
"""A sign beside each verdict's word, for a glance that sees no colour."""


def whole(stored, found, judged, pictures, columns, projection, level, seed):
    """The report as one page of HTML.

    Parameters
    ----------
    stored : stored.Plate
    found : verdicts.Findings
    judged : list of verdicts.Verdict
    pictures : montage.Montage
    columns : plate.Columns
    projection : {"pca", "umap"}
    level : float
    seed : int

    Returns
    -------
    str
    """
    parts = [
        _verdicts(judged),
        _failed(stored),
        _flags(stored, found),
        _heat_maps(stored, found, columns),
        _positions(found, level),
        _replicates(found, level),
        _doses(found, level),
        _montage(pictures, stored),
        _map(stored, found, columns, projection, seed),
        _doubts(found),
        _making(stored),
        _wells(stored, found, columns),
    ]
    parts = [part for part in parts if part is not None]
    links = [
        element("li", element("a", part.find("h2").text, href=f"#{part.get('id')}"))
        for part in parts
    ]
    kind = "simulated" if stored.simulated else "real"
    title = f"{_what(stored)} of {stored.dataset}: report"
    return page(
        title,
        f"{title}; {kind} images, embedded by {stored.model}",
        _head(stored, judged),
        element("nav", element("ul", links), aria_label="Contents"),
        element("main", parts),
        _foot(stored),
    )


def _what(stored):
    return f"Plate {stored.name}" if stored.key else "All images"


def _head(stored, judged):
    sites = stored.sites["Metadata_status"].value_counts()
    told = ", ".join(
        f"{sites.get(status, 0)} {word}"
        for status, word in (("ok", "ok"), ("empty", "empty"), ("failed", "failed"))
    )
    kind = "Simulated images" if stored.simulated else "Real images"
    origin = stored.made.get("model_origin")
    untrained = "an untrained network: a baseline, not a result"
    told_of = untrained if stored.model.startswith("random_vit") else origin
    units = f"{stored.unit}s"
    return element(
        "header",
        element("p", element("strong", kind, class_="kind"), " · quality report", class_="over"),
        element("h1", _what(stored)),
        facts(
            [
                ("Dataset", stored.dataset),
                ("Model", f"{stored.model} ({told_of})" if told_of else stored.model),
                ("Extracted", stored.extracted[0]),
                ("Software", f"uniDINO {_version(stored)}"),
                *([(units.capitalize(), len(stored.wells))] if stored.by_well else []),
                ("Sites", f"{len(stored.sites)} ({told})"),
                ("Channels", ", ".join(stored.channels)),
                ("Features", len(tables.feature_columns(stored.profiles))),
            ]
        ),
        _summary(judged),
    )


def _version(stored):
    return (stored.made.get("software") or {}).get("unidino") or "of unknown version"


def _summary(judged):
    items = []
    for word in (FAIL, LOOK, PASS, UNASKED):
        count = sum(verdict.word == word for verdict in judged)
        items.append(element("li", _badge(word), f" {count}", class_=_class(word)))
    return element("ul", items, class_="summary", aria_label="Verdicts")


def _class(word):
    return "v-" + word.replace(" ", "-")


def _badge(word):
    sign = element("span", SIGNS[word], aria_hidden="true")
    return element("span", sign, f" {word}", class_=f"badge {_class(word)}")


def _verdicts(judged):
    rows = [
        [
            verdict.question,
            _badge(verdict.word),
            [
                prose(verdict.said),
                " ",
                element("small", verdict.rule[:1].upper() + verdict.rule[1:] + "."),
            ],
        ]
        for verdict in judged
    ]
    return section(
        "verdicts",
        "At a glance",
        element(
            "p",
            "A verdict says where to look, not what to discard: a treatment that kills cells "
            "leaves sparse fields, too. Below each stands when the word would be another.",
        ),
        table("Verdicts", ["Question", "Verdict", "What was found"], rows, class_="verdicts"),
    )


def _failed(stored):
    sites = stored.sites[stored.sites["Metadata_status"] == "failed"]
    if sites.empty:
        return None
    names = np.array(plate_quality.well_names(stored.sites), dtype=object)
    reasons = sites["Metadata_error"].fillna("no reason was recorded").map(stored.without_place)
    kinds = {}
    for row, reason in reasons.items():
        named = re.match(_FILE, reason)
        file = named[1] if named else sites.at[row, "Metadata_path"]
        kinds.setdefault(reason[named.end() :] if named else reason, []).append((names[row], file))
    rows = [
        [reason, len(found), shortened(list(dict.fromkeys(well for well, _ in found))), found[0][1]]
        for reason, found in kinds.items()
    ]
    return section(
        "failed",
        "Sites that could not be read",
        table("Reasons", ["Reason", "Sites", "Where", "First file"], rows, numeric={1}),
    )


def _flags(stored, found):
    made = plate_quality.flag_table(found.flagged, stored.sites, found.limits)
    head = ["Flag", "Raised where", "Channels", "Sites", "Wells"]
    if not stored.by_well:
        made, head = made.drop(columns="wells"), head[:-1]
    rows = made.to_numpy(object).tolist()
    parts = [table("Flags on sites", head, rows, numeric={3, 4})]
    if found.bare.any():
        parts.append(
            element(
                "p",
                f"{int(found.bare.sum())} sites without cells, empty or sparse, are flagged for "
                "that: neither their focus nor that they are dim says more.",
            )
        )
    looked = plate_quality.wells_to_look_at(found.flagged, stored.sites)
    if len(looked):
        name, most = stored.unit.capitalize(), 12
        rows = [
            [one.well, f"{one.flagged} of {one.sites}", one.reasons]
            for one in looked.head(most).itertuples(index=False)
        ]
        caption = f"{name}s to look at, the one farthest beyond a limit first"
        if len(looked) > most:
            caption += f": the first {most} of {len(looked)}, all are named in the last table"
        parts.append(table(caption, [name, "Sites flagged", "Why"], rows))
    return section("flags", "What stands out", parts)


def _heat_maps(stored, found, columns):
    frame = stored.wells
    if "Metadata_Well" not in frame:
        return _said("maps", "Heat maps", "There are no wells to lay out.")
    places = [plots.well_position(well) for well in frame["Metadata_Well"]]
    if None in places:
        odd = frame["Metadata_Well"].iloc[places.index(None)]
        return _said(
            "maps",
            "Heat maps",
            f"The well {odd!r} is no position on a plate: there is nothing to lay out. Names such "
            "as A01, or a row and a column, are needed.",
        )
    positions = np.array(places)
    kinds = _kinds(frame)
    names = _descriptions(frame, columns)
    failed = (frame["Metadata_status"] == "failed").to_numpy(bool)
    flagged = set(np.array(plate_quality.well_names(stored.sites), object)[found.flagged["row"]])
    outlined = np.array([name in flagged for name in plate_quality.well_names(frame)])
    labels, what = _labels(frame, columns)
    first, preferred = _first(stored, found, columns)
    drawing, legend = svg.categories(
        positions, labels, names, kinds, f"Layout of the plate by {what}", outlined, first
    )
    layout = element(
        "figure",
        element(
            "figcaption",
            element("b", "Layout"),
            f", by {what}; thick outlines are flagged{preferred and '; ' + preferred}",
        ),
        drawing,
        legend,
    )
    figures = [layout]
    bare = bare_wells(stored, found)
    if bare[~failed].all():
        bare = np.zeros(len(bare), bool)  # without cells anywhere colours have nothing else to show
    for title, unit, values in _measures(stored, found, columns):
        # Doses are given, not measured.
        own = None if title.endswith("by rank") else bare
        drawing = svg.plate_map(
            positions, values, names, kinds, f"{title} of each well", failed, own
        )
        figures.append(
            element(
                "figure",
                element("figcaption", element("b", title)),
                drawing,
                svg.colour_bar(values, unit, own),
            )
        )
    return section(
        "maps",
        "Heat maps",
        element(
            "p",
            "One cell a well, mean over its sites that were read, each panel with colours of its "
            f"own between the percentiles {svg.CLIPPED:g} and {100 - svg.CLIPPED:g} of the wells "
            "with cells. Hatched wells have next to none (every site is empty or sparse), and no "
            "colour, since noise has a focus and an intensity, too. "
            "The strips on the right and below are the medians of rows and columns, without "
            "hatched wells: an edge or a gradient shows there first. – marks negative and + "
            "positive controls, × a well that could not be read; dashed positions hold no well. A "
            "pointer shows well, treatment and value. Saturated pixels have a panel where some "
            "well has more than a tenth of the limit.",
        ),
        element("div", figures, class_="figures"),
    )


def _said(name, title, *texts):
    """A section that says why it is empty."""
    return section(name, title, [element("p", prose(text)) for text in texts])


def _kinds(frame):
    column = tables.key_columns(frame, ["control_type"])
    return frame[column[0]].to_numpy(object) if column else np.full(len(frame), None, object)


def _labels(frame, columns):
    """(label of each row, controls by their type; what it is called)."""
    kinds = pd.Series(_kinds(frame), frame.index, dtype=object).map(plots.CONTROLS).astype(object)
    if columns.label is None:
        return kinds, "control type"
    return kinds.fillna(frame[columns.label].astype(object)), plate.bare(columns.label)


def _first(stored, found, columns):
    """(the labels that take the colours, the farthest first; that rule in words).

    No rule is told where all labels have a colour.
    """
    labels, _ = _labels(stored.wells, columns)
    styles = plots.category_styles(labels.dropna())
    named = [name for name in styles if name not in plots.CONTROLS.values()]
    room = len(plots.PALETTE) - (len(styles) - len(named))
    if len(named) <= room:
        return [], ""
    far = found.distance.where(~bare_wells(stored, found))
    order = far.groupby(labels).median().dropna().sort_values(ascending=False, kind="stable")
    first = [name for name in order.index if name in named]
    if not first:
        return [], f"of {len(named)} names the {room} with the most {stored.unit}s have colours"
    return first, (
        f"of {len(named)} names the {room} farthest from the negative controls have colours "
        f"(median of their {stored.unit}s with cells)"
    )


def _descriptions(frame, columns):
    """What the pointer shows of each row: well, treatment, dose, control type."""
    names = frame.get("Metadata_Well", pd.Series(plate_quality.well_names(frame), frame.index))
    shown = dict.fromkeys(filter(None, (columns.label, columns.perturbation, columns.dose)))
    kinds = _kinds(frame)
    made = []
    for i, name in enumerate(names):
        parts = [_plain(frame[column].iat[i]) for column in shown]
        parts = [part for part in [str(name), *parts, plots.CONTROLS.get(kinds[i])] if part]
        made.append(", ".join(parts))
    return made


def _plain(value):
    """A value of a table as text; "" where it is missing."""
    if value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NA:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _measures(stored, found, columns):
    """(title, unit, one value a row of the wells) of each heat map."""
    frame = stored.wells
    if columns.dose:
        dose = plate.bare(columns.dose)
        yield f"{dose[:1].upper()}{dose[1:]}, by rank", "", _ranks(frame[columns.dose])
    if found.distance.notna().any():
        yield "Distance from the negative controls", "", found.distance.to_numpy()
    yield "Foreground", "of the pixels", frame["Metadata_foreground"].to_numpy(float)
    yield "Objects", "a field", frame["Metadata_objects"].to_numpy(float)
    channels = quality.channels(frame)
    for measure, title, unit in (
        ("mean", "Mean intensity", "raw"),
        ("focus", "Focus", ""),
        ("saturated", "Saturated", "of the pixels"),
    ):
        for channel in channels:
            values = frame[f"Metadata_{measure}_{channel}"].to_numpy(float)
            if measure != "saturated" or _is_saturated(values, found):
                yield f"{title}, {channel}", unit, values


def _is_saturated(values, found):
    """Whether there is saturation to be shown: somewhere more than a tenth of the limit."""
    return np.nanmax(values, initial=0) > found.limits.saturated / 10


def _positions(found, level):
    effects = found.effects
    if effects.empty:
        return None
    rows = [
        [
            f"{plate.bare(row.position)}, of the {row.of}",
            row.values,
            row.n_wells,
            f"{row.explained:.1%}",
            f"{row.by_chance:.1%}",
            f"{row.chance_95:.1%}",
            f"{row.corrected_p_value:.2g}",
        ]
        for row in effects.itertuples(index=False)
    ]
    return section(
        "positions",
        "Rows, columns, edge",
        element(
            "p",
            f"Share of the variance that position explains among {effects['wells'].iloc[0]}, "
            "beside what exchanged wells explain; p-values are corrected (Benjamini and Hochberg).",
        ),
        table(
            "What position explains",
            ["Position", "Groups", "Wells", "Explained", "By chance", "95th percentile of chance",
             "Corrected p"],
            rows,
            numeric={1, 2, 3, 4, 5, 6},
        ),
    )  # fmt: skip


def _replicates(found, level):
    if found.wells is None:
        return _said("activity", "Do replicates find each other?", found.why)
    said = plain(plate_answers.retrieval_findings(found.answers, found.wells, level))
    made = plate_answers.by_treatment(found.answers)
    for name, answer in found.answers.items():
        if not reachable(answer, level):  # no count and no p-value of what could not be asked
            said = [text for text in said if not text.startswith(f"{name.capitalize()}: ")]
            made = made.drop(columns=f"{name}, corrected p", errors="ignore")
    parts = [sentences(said)]
    if len(made):
        shown = made.head(24)
        rows = [
            [name, *(_score(column, value) for column, value in row.items())]
            for name, row in shown.iterrows()
        ]
        more = f", the first {len(shown)} of {len(made)}" if len(shown) < len(made) else ""
        parts.append(
            table(
                f"Normalised average precision of treatments: 0 by chance, 1 at best{more}",
                ["Treatment", *(name[:1].upper() + name[1:] for name in made.columns)],
                rows,
                numeric=set(range(1, made.shape[1] + 1)),
            )
        )
    return section(
        "activity",
        "Do replicates find each other?",
        element(
            "p",
            "Activity: before the negative controls; distinctiveness: before all other wells "
            "(cosine similarity; replicates at the same position do not count).",
        ),
        parts,
    )


def _score(column, value):
    if not np.isfinite(value):
        return "–"
    if column == "wells":
        return f"{value:.0f}"
    return f"{value:.2g}" if column.endswith("p") else f"{value:z.2f}"


def _doses(found, level):
    if found.doses is None:
        return None
    series, columns = found.doses.series, found.wells.columns
    said = plain(plate_answers.dose_findings(found.doses, level))
    parts = [sentences(said)]
    if len(series):
        parts.append(_dose_figure(found, plate.bare(columns.dose)))
    return section("doses", "Does the response follow the dose?", parts)


def _dose_figure(found, dose):
    """Scores of the treated wells over their doses, the controls beside them."""
    series = found.doses.series
    doses = sorted(series["dose"].unique())
    order = {value: i for i, value in enumerate(doses)}
    # As many as have colours beside the controls', those with the strongest trends.
    kept = set(found.doses.trends["group"].head(len(plots.PALETTE) - 2))
    points = [
        (
            order[value],
            score,
            str(group) if group in kept else None,
            f"{group}, {dose} {value:g}: {svg.number(score)}",
        )
        for value, score, group in series[["dose", "score", "group"]].itertuples(index=False)
    ]
    ticks = {i: f"{value:g}" for value, i in order.items()}
    for kind, at in (("negcon", -1), ("poscon", len(doses))):
        name = plots.CONTROLS[kind]
        own = found.doses.controls[kind]
        points += [(at, score, name, f"{name}: {svg.number(score)}") for score in own]
        if len(own):
            ticks[at] = name.replace("control", "").strip()
    coordinates = np.array([point[:2] for point in points], float)
    labels, names = ([point[i] for point in points] for i in (2, 3))
    axes = (f"{dose} (in order, not to scale)", found.doses.scored)
    drawing, legend = svg.scatter(
        coordinates,
        labels,
        names,
        axes,
        f"Response of each well over its {dose}",
        ticks=ticks,
        missing="others",
    )
    return element("figure", drawing, legend, class_="wide")


def _montage(pictures, stored):
    texts = [element("p", text) for text in pictures.said]
    if not pictures.groups:
        return section("pictures", "Pictures", texts)
    keys = [
        element(
            "li",
            element(
                "svg",
                element("rect", x=1, y=1, width=14, height=14, fill=colour, class_="swatch"),
                viewBox="0 0 16 16",
                class_="key",
            ),
            channel,
        )
        for channel, colour in pictures.colours.items()
    ]
    note = (
        f" White bars are {pictures.bars[0]} long in the composite, {pictures.bars[1]} in the "
        "channels."
        if pictures.bars
        else " There is no scale bar: the size of a pixel is not known."
    )
    groups = [
        element("h3", heading)
        if i == 0
        else element("div", [_card(card, stored) for card in cards], class_="cards")
        for heading, cards in pictures.groups.items()
        for i in (0, 1)
    ]
    return section(
        "pictures",
        "Pictures",
        element(
            "p",
            "A field of each well: all channels in colours, below it the middle of each channel "
            "in its full resolution (the white square). Black and white are the percentiles 0.5 "
            "and 99.9 of the plate, the same for all wells; of several sites the one with the "
            "median foreground is shown, of flagged wells the one farthest beyond its limit."
            + note,
        ),
        element("ul", keys, class_="legend"),
        texts,
        groups,
    )


def _card(card, stored):
    composite = element(
        "img", src=card.composite, alt=f"{card.well}, all channels in colours", loading="lazy"
    )
    frame = None
    if card.box:
        left, top, width, height = (f"{100 * share:.2f}%" for share in card.box)
        style = f"left:{left};top:{top};width:{width};height:{height}"
        frame = element("span", class_="box", style=style, aria_hidden="true")
    details = [
        element(
            "div",
            element("img", src=uri, alt=f"{card.well}, {channel}", loading="lazy"),
            element("span", channel),
        )
        for channel, uri in zip(stored.channels, card.details, strict=True)
    ]
    why = f" {card.why}" if card.why else ""
    return element(
        "figure",
        element("figcaption", element("b", card.well), why),
        element("div", composite, frame, class_="field"),
        element("div", details, class_="details", style=_columns(min(3, len(details)))),
        class_="card",
    )


def _columns(count):
    return f"grid-template-columns:repeat({count},minmax(0,1fr))"


def _map(stored, found, columns, projection, seed):
    name, title = "map", f"Map of the {stored.unit}s"
    if found.wells is None:
        return _said(name, title, found.why)
    no_map = plate_answers.no_map(found.wells)
    if no_map:
        return _said(name, title, no_map)
    frame = found.wells.profiles
    ringed = None
    if projection == "umap":
        coordinates = maps.umap_coordinates(frame, seed=seed)
        axes = ("UMAP 1", "UMAP 2")
        told = (
            f"UMAP of the profiles (cosine distance, seed {seed}): neighbourhoods, not distances."
        )
    else:
        drawn = extraction.principal_components(extraction.Stored(frame, stored.made))
        coordinates, axes, ringed = drawn["coordinates"], drawn["axes_names"], drawn["ringed"]
        told = (
            "First two principal components of the profiles, fitted without sparse fields; what "
            "lies beyond the frame of the others is drawn on its edge."
        )
    labels, what = found.wells.labels
    first, preferred = _first(stored, found, columns)
    names = _descriptions(frame, found.wells.columns)
    shades, scale, shaded = None, None, ""
    if found.wells.columns.label is None and found.wells.columns.dose:
        shades = _ranks(frame[found.wells.columns.dose])
        dose = plate.bare(found.wells.columns.dose)
        controls = labels.notna().to_numpy(bool)
        scale = svg.colour_bar(np.where(controls, np.nan, shades), f"(rank of the {dose})")
        shaded = f", diamonds by {dose}"
    shown = np.arange(len(frame))
    if len(frame) > ROWS:
        shown = np.linspace(0, len(frame) - 1, ROWS).astype(int)
        told += f" {ROWS} of the {len(frame)} are drawn, evenly spaced in the table."
    drawing, legend = svg.scatter(
        np.asarray(coordinates, float)[shown],
        labels.iloc[shown],
        [names[i] for i in shown],
        axes,
        f"Map of {len(shown)} {stored.unit}s",
        None if ringed is None else np.asarray(ringed)[shown],
        None if shades is None else shades[shown],
        first=first,
    )
    return section(
        name,
        title,
        element(
            "p",
            f"{told} Colours and marks by {what}{shaded}{preferred and ': ' + preferred}; a "
            f"pointer shows the name of a {stored.unit}.",
        ),
        element("figure", drawing, element("div", legend, scale), class_="wide"),
    )


def _ranks(doses):
    """Doses by their order, from 1, equal ones alike: concentrations seldom rise evenly."""
    return doses.astype(float).rank(method="dense").to_numpy()


def _doubts(found):
    if found.wells is None:
        return None
    looked = (
        "Looked for are labels and doses that row or column tell, controls that stand apart, "
        "treatments at one position or with few wells, p-values that nothing could reach, controls "
        "that scatter as widely as the treatments, flagged wells, and positions that explain more "
        "than chance."
    )
    return section(
        "doubts",
        "What to distrust",
        element("p", looked if found.doubts else f"{looked} Nothing was found."),
        sentences(found.doubts),
    )


def _making(stored):
    made = stored.made
    settings = {**made["settings"]}
    config = settings.pop("model_config", None) or {}
    pairs = [
        ("extracted", f"{stored.extracted[0]}, by {stored.extracted[1]}"),
        ("profiles", stored.file.name),
        ("other tables in the folder", ", ".join(stored.others) or "none"),
        ("operation", made.get("operation", "unknown")),
        ("normalisation", made.get("norm_method", "none")),
        ("reference", made.get("reference", "none")),
        ("left out of the reference", ", ".join(map(str, made.get("reference_left_out") or []))),
        ("features without spread, dropped", len(made.get("dropped_features") or [])),
        ("correction", made.get("correct", "none")),
        *settings.items(),
        *((f"model: {name}", value) for name, value in config.items() if value is not None),
        ("size of a pixel in the files (µm)", made.get("pixel_size")),
        ("licence of the model", made.get("model_licence")),
        ("SHA-256 of the images", made.get("images_sha256")),
        ("illumination functions", (stored.measured.get("illumination") or {}).get("kind")),
        *((f"version of {n}", v) for n, v in (made.get("libraries") or {}).items()),
        ("commit", (made.get("software") or {}).get("commit")),
    ]
    rows = [[name, _setting(value)] for name, value in pairs if value not in (None, "", [])]
    return section(
        "making",
        "How it was made",
        table("Settings and versions, from the tables themselves", ["Setting", "Value"], rows),
    )


def _setting(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_setting(one)}" for name, one in value.items())
    return str(value)


def _wells(stored, found, columns):
    frame, unit = stored.wells, stored.unit.capitalize()
    names = plate_quality.well_names(frame) if stored.by_well else _site_names(frame)
    reasons = _reasons(stored, found)
    labels = [c for c in dict.fromkeys((columns.label, columns.perturbation, columns.dose)) if c]
    channels = quality.channels(frame)
    head, cells, numeric = [unit], [names], set()

    def add(name, values, is_number=True):
        if is_number:
            numeric.add(len(head))
        head.append(name)
        cells.append(values)

    kinds = [plots.CONTROLS.get(kind, "").removesuffix(" control") for kind in _kinds(frame)]
    if any(kinds):
        add("Control", kinds, False)
    for column in labels:
        add(plate.bare(column), [_plain(value) for value in frame[column]], False)
    add("Status", frame["Metadata_status"].tolist(), False)
    if stored.by_well and len(stored.sites) > len(frame):  # else the status says it
        add("Sites", [_plain(value) for value in frame["Metadata_sites"]])
        add("Failed", [_plain(value) for value in frame["Metadata_sites_failed"]])
        add("Empty", [_plain(value) for value in frame["Metadata_sites_empty"]])
    if any(reasons):
        add("Flags", reasons, False)
    if found.distance.notna().any():
        add("Distance", _numbers(found.distance))
    add("Foreground", _numbers(frame["Metadata_foreground"]))
    add("Objects", _numbers(frame["Metadata_objects"]))
    for measure, title in (("mean", "Mean"), ("focus", "Focus"), ("saturated", "Saturated")):
        for channel in channels:
            values = frame[f"Metadata_{measure}_{channel}"]
            if measure != "saturated" or _is_saturated(values.to_numpy(float), found):
                add(f"{title} {channel}", _numbers(values))
    rows = list(zip(*cells, strict=True))
    shown = rows[:ROWS]
    more = f", the first {len(shown)} of {len(rows)}" if len(shown) < len(rows) else ""
    return section(
        "wells",
        f"Every {stored.unit}",
        element(
            "p",
            "Saturated pixels have a column where they have a heat map. Where the window is "
            "narrower than the table, it scrolls sideways.",
        ),
        table(f"Measures of each {stored.unit}{more}", head, shown, numeric, class_="wells"),
    )


def _site_names(frame):
    keys = tables.key_columns(frame)
    keys = [name for name in keys if name not in tables.plate_columns(frame)]
    named = frame[keys] if keys else frame[keys_of(frame)[-1:]]
    return named.astype(str).agg(" ".join, axis=1).tolist()


def _numbers(values):
    return ["" if not np.isfinite(value) else svg.number(value) for value in values.astype(float)]


def _reasons(stored, found):
    """Why each row of the wells is flagged; "" where it is not."""
    if stored.by_well:
        looked = plate_quality.wells_to_look_at(found.flagged, stored.sites)
        why = dict(zip(looked["well"], looked["reasons"], strict=True))
        return [why.get(name, "") for name in plate_quality.well_names(stored.wells)]
    why = {}
    paths = stored.sites["Metadata_path"].to_numpy(object)
    for row, flag, channel in found.flagged[["row", "flag", "channel"]].itertuples(index=False):
        why.setdefault(paths[row], []).append(f"{channel} {flag}".strip())
    return ["; ".join(why.get(path, [])) for path in stored.wells["Metadata_path"]]


def _foot(stored):
    named = f" --plate {'/'.join(stored.key)}" if stored.key else ""
    return element(
        "footer",
        element(
            "p",
            f"Written by uniDINO {__version__} from the tables of the extraction: ",
            element("code", f"unidino report FOLDER{named}"),
            ". This file loads nothing and runs nothing.",
        ),
    )
