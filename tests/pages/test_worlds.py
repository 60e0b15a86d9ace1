"""The words of the page of planted truth, on tables with known content."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from unidino.pages import worlds
from unidino.simulate.worlds import World

ROOT = Path(__file__).parents[2]

TREATED = [{"mechanism": "m", "strength": 0.5}, {"strength": 0.0}]
NOTHING = [{"mechanism": "m", "strength": 0.0}, {"strength": 0.0}]
WORLDS = [
    World("effect", [TREATED], batch=0.0),
    World("null", [NOTHING]),
    World("together", [NOTHING], treated_batch=1.0),
]


def row(world, accuracy, value, features="a", high=0.5, within=0.5, said=""):
    return {
        "world": world, "accuracy": accuracy, "features": features, "value": value,
        "null_high": high, "within_high": within, "said": said,
    }  # fmt: skip


def test_verdicts_say_what_was_found_and_what_there_was():
    unasked = "not askable: every moa lies in one batch"
    scores = pd.DataFrame(
        [
            row("effect", "NSC", 0.9),
            row("effect", "NSC", 0.3, "b"),
            row("effect", "NSC", 0.9, "blind"),
            row("effect", "NSCB", 0.3),
            row("effect", "NSCB", 0.5, "b"),
            row("null", "NSC", 0.4),
            row("null", "NSCB", 0.6),
            row("together", "NSC", 0.9, within=np.nan),
            row("together", "NSCB", np.nan, high=np.nan, within=np.nan, said=unasked),
        ]
    )
    made = worlds.verdicts(WORLDS, scores, ["a", "b"])
    within = "NSC, labels exchanged within batches"
    assert made.loc["effect"].tolist() == [
        "mechanisms at strength 0.5, no batch effect",
        "the mechanisms",
        "found: 1 of 2 above",
        "found: 1 of 2 above",
        "not found: 0 of 2 above",
        "no batch (Batches)",
    ]
    assert made.loc["null", ["a good metric finds", "asked elsewhere"]].tolist() == [
        "no mechanism",
        "",
    ]
    assert made.loc["null", ["NSC", "NSCB"]].tolist() == [
        "nothing found: 0 of 1 above",
        "fooled: 1 of 1 above",
    ]
    assert made.loc["together", ["NSC", within, "NSCB"]].tolist() == [
        "fooled: 1 of 1 above",
        "not askable: within a batch all labels are the same",
        unasked,
    ]


def test_what_neighbours_do_not_tell_is_asked_in_a_section_of_the_page():
    placed = World("placed", [NOTHING], batch=0.0, position=1.0)
    made = worlds.verdicts([placed], pd.DataFrame([row("placed", "NSC", 0.4)]), ["a"])
    assert made.loc["placed", "a good metric finds"] == "no mechanism"
    assert made.loc["placed", "asked elsewhere"] == "no batch (Batches), no replicate (Positions)"
    page = json.loads((ROOT / "notebooks" / "planted_truth.ipynb").read_text(encoding="utf-8"))
    text = [line for cell in page["cells"] for line in "".join(cell["source"]).split("\n")]
    assert {"## Batches", "## Positions"} <= set(text)


def test_strengths_in_words():
    least = pd.DataFrame(
        {
            "features": ["a", "chance"],
            "least_strength": [0.3, np.nan],
            "value": [0.81, np.nan],
            "floor": [0.5, np.nan],
        }
    )
    assert worlds.strengths(least, ["a"]).split("\n") == [
        "- `a` is above its floor from strength 0.3 on (0.81, floor up to 0.50).",
        "- `chance` (sees no image) is not above its floor at the greatest strength.",
    ]


def test_warnings_name_their_worlds_once():
    table = pd.DataFrame({"world": ["x", "y", "z"], "warning": ["all.", "", "all."]})
    assert worlds.warnings(table) == "- **x, z**: all."
    assert worlds.warnings(table[table["warning"] == ""]) == (
        "No world has labels and batches that cannot be told apart."
    )


def test_positions_in_words():
    table = pd.DataFrame(
        [
            ("fixed", "allowed", "a", 0.6, 0.2, ""),
            ("fixed", "allowed", "b", 0.1, 0.2, ""),
            ("fixed", "allowed", "blind", 0.9, 0.2, ""),
            ("fixed", "barred", "a", np.nan, np.nan, "not askable"),
            ("random", "barred", "a", 0.1, 0.25, ""),
        ],
        columns=["world", "same_position", "features", "value", "null_high", "said"],
    )
    assert worlds.positions(table, ["a", "b"]).split("\n") == [
        "- **fixed**, same position allowed: 1 of 2 above the floor (0.20): `a`.",
        "- **fixed**, same position barred: not askable.",
        "- **random**, same position barred: 0 of 1 above the floor (0.25).",
    ]


def test_batches_in_words():
    table = pd.DataFrame(
        [
            ("effect", "raw", "a", 0.1, 0.2, ""),
            ("null", "raw", "a", 0.3, 0.2, ""),
            ("together", "raw", "a", np.nan, np.nan, "not askable"),
        ],
        columns=["world", "profiles", "features", "explained", "null_high", "said"],
    )
    assert worlds.batches(table, WORLDS).split("\n") == [
        "- **effect**, raw profiles (no batch effect is planted): 0 of 1 above.",
        "- **null**, raw profiles (batch effects are planted): 1 of 1 above: `a`.",
        "- **together**, raw profiles (batch effects are planted): not askable.",
    ]
