"""What of a table cannot be normalised: dead plates, dead channels, features without spread."""

from dataclasses import dataclass, field

import numpy as np

from .. import quality, tables
from .reference import LEAST_REFERENCE, keys_of, leave_out, listed

SPREAD_FLOOR = 1e-5
"""A spread below this share of a feature's magnitude is rounding of float32, not biology."""

SHARE_FLOOR = 1e-3
"""A plate's reference that spreads less than this share of what the feature spreads over all
profiles is an accident (half of the values equal, or nearly): dividing by it makes numbers that
drown every other feature. Real tables stay well above it."""

DEAD_SHARE = 0.5
"""A channel is dead on a plate where more than this share of its features cannot be normalised:
they are missing there. A few features less are dropped from all plates, so that none has gaps."""

NOISE_SHARE = 0.95
"""A well is dark in a channel of whose variance this share is white noise; of 700 real images the
noisiest had 0.88."""

SIGNAL_SHARE = 0.001
"""A well is dark in a channel of whose pixels fewer than this share lie above the background; of
500 real images the emptiest had 0.017, and noise through an antialiasing filter has 0.00005."""

UNREAD = "have no readable profile"
DARK = "are constant or nothing but noise in every channel"
EMPTY = "show no foreground in any profile"
FEW = f"have fewer than {LEAST_REFERENCE} readable reference profiles"
FLAT = "have no feature that varies among the reference"


def channel_features(features):
    """{channel: (F,) bool, which features are its own}."""
    channels = np.array([tables.feature_channel(name) for name in features])
    return {channel: channels == channel for channel in dict.fromkeys(channels.tolist())}


def dark_channels(profiles, plates):
    """Channels without any signal on a plate, by their measures of quality.

    Noise embeds to numbers that spread like any others: only the images tell. A well is dark in a
    channel that is constant, white noise, or nowhere above the background; the channel is dark on a
    plate where every well is, for a reporter may light up in a single one.

    Parameters
    ----------
    profiles : pd.DataFrame
        With the measures of `quality.channels`; without, no channel is dark.
    plates : dict
        {key: rows}.

    Returns
    -------
    dict
        {channel: keys of the plates on which it is dark}, of the channels that are somewhere.
    """
    made = {}
    for channel in quality.channels(profiles):
        focus, signal = (
            profiles[f"Metadata_{name}_{channel}"].to_numpy(float) for name in ("focus", "signal")
        )
        lit = (focus > 0) & (focus < NOISE_SHARE * quality.NOISE_FOCUS) & (signal >= SIGNAL_SHARE)
        read = np.isfinite(focus)
        keys = [k for k, rows in plates.items() if read[rows].any() and not lit[rows].any()]
        if keys:
            made[channel] = keys
    return made


def flat_channels(profiles, plates):
    """Profiles in which a channel is constant or saturated, though it is alive on their plate.

    They embed to numbers far from all others, which read like a phenotype.

    Parameters
    ----------
    profiles : pd.DataFrame
        With the measures of `quality.channels`; without, no channel is flat.
    plates : dict
        {key: rows}.

    Returns
    -------
    (numpy.ndarray of bool, list of str)
        The profiles with some such channel, and a warning for each channel.
    """
    made, said = np.zeros(len(profiles), bool), []
    dark = dark_channels(profiles, plates)
    for channel, rows in quality.flat(profiles).items():
        for key in dark.get(channel, ()):
            rows[plates[key]] = False
        made |= rows
        if rows.any():
            said.append(
                f"channel {channel} is constant or saturated in {int(rows.sum())} of {len(rows)} "
                f"profiles: {listed(keys_of(profiles, rows))}; their features of it may tell of "
                "the exposure or the export, not of cells: look at their images."
            )
    return made, said


def flat_reference(profiles, plates, rows, flat):
    """Reference profiles to leave out because a channel of theirs is flat; as `leave_out`.

    Parameters
    ----------
    profiles, plates, rows
        As of `leave_out`.
    flat : numpy.ndarray of bool
        From `flat_channels`.
    """
    read = rows.copy()
    for channel in quality.channels(profiles):
        read &= np.isfinite(profiles[f"Metadata_focus_{channel}"].to_numpy(float))
    return leave_out(
        profiles,
        plates,
        rows,
        read,
        rows & flat,
        lambda which: "have a channel that is constant or saturated",
    )


def varies(reference, overall, method):
    """Which features spread among reference profiles, so that a method can divide by it, (F,).

    Parameters
    ----------
    reference : numpy.ndarray
        (n, F).
    overall : numpy.ndarray
        (F,), the standard deviation over all profiles.
    method : str
        Of normalisation: the spread is measured as it does.
    """
    reference = reference.astype(float)
    with np.errstate(invalid="ignore"):  # a feature that was not measured is NaN, which varies not
        if method == "mad_robustize":
            spread = np.median(np.abs(reference - np.median(reference, 0)), 0)
        elif method == "robustize":
            spread = np.subtract(*np.percentile(reference, [75, 25], axis=0))
        else:
            spread = reference.std(0)
        enough = spread > SPREAD_FLOOR * np.abs(reference).max(0)
        return enough & (spread > SHARE_FLOOR * overall)


@dataclass
class Survey:
    """What can be normalised on which plate.

    Attributes
    ----------
    plates : dict
        {key: rows} of all plates.
    channels : dict
        {channel: its features, (F,) bool}.
    dark : dict
        {channel: keys of the plates on which it is dark}, from `dark_channels`.
    overall : numpy.ndarray
        (F,), the standard deviation over all profiles.
    fitted : numpy.ndarray of bool
        (N,), the profiles that the fit of their plate rests on.
    lost : dict
        {key: why nothing of the plate can be normalised}.
    able : dict
        {key: (F,) bool, the features that can be} of the other plates.
    dead : dict
        {key: the channels that cannot be} of the plates that have some.
    """

    plates: dict
    channels: dict
    dark: dict
    overall: np.ndarray
    fitted: np.ndarray
    lost: dict = field(default_factory=dict)
    able: dict = field(default_factory=dict)
    dead: dict = field(default_factory=dict)

    def kept(self):
        """Features that can be normalised somewhere, and wherever their channel is alive, (F,)."""
        anywhere, everywhere = np.any([*self.able.values()], 0), True
        for key, able in self.able.items():
            for channel in self.dead.get(key, ()):
                able = able | self.channels[channel]
            everywhere = everywhere & able
        return anywhere & everywhere

    def missing(self):
        """{key: channels that are missing there}, the lost plates first."""
        return dict.fromkeys(self.lost, list(self.channels)) | self.dead

    def blank(self, values):
        """Set missing in `values` (N, F), in place, what is missing on some plate."""
        for key, dead in self.missing().items():
            for channel in dead:
                values[np.ix_(self.plates[key], self.channels[channel])] = np.nan

    def sentences(self, fate="its features are missing there"):
        """Warnings: dead plates, dead channels, and the features that are dropped because of them.

        Parameters
        ----------
        fate : str
            What becomes of a dead channel.
        """
        return [
            *self.losses(" and stay missing"),
            *self._dead_sentences(fate),
            *self._dropped_sentences(),
        ]

    def losses(self, fate=""):
        """A sentence for each reason why plates are lost."""
        return [
            f"{len(keys)} of {len(self.plates)} plates {reason}{fate}: {listed(keys)}."
            for reason in dict.fromkeys(self.lost.values())
            if (keys := [key for key, why in self.lost.items() if why == reason])
        ]

    def _dead_sentences(self, fate):
        together = {}
        for channel in self.channels:
            keys = tuple(key for key, dead in self.dead.items() if channel in dead)
            together.setdefault(keys, []).append((channel,))
        for keys, channels in together.items():
            if keys:
                one = len(channels) == 1
                yield (
                    f"{'channel' if one else f'{len(channels)} channels'} {listed(channels)} "
                    f"{'is' if one else 'are'} dead on {len(keys)} of {len(self.plates)} plates "
                    "(constant, nothing but noise, or without spread among the reference): "
                    f"{listed(keys)}; {fate}."
                )
        for channel, keys in self.dark.items():
            living = [key for key in keys if key in self.able]
            if living and channel not in self.channels:
                yield (
                    f"channel {channel} is constant or nothing but noise on {len(living)} of "
                    f"{len(self.plates)} plates: {listed(living)}; no feature is of it alone, so "
                    "none is missing there."
                )

    def _dropped_sentences(self):
        kept, anywhere = self.kept(), np.any([*self.able.values()], 0)
        total = len(kept)
        if not anywhere.all():
            parts = [
                (f"{count} of {channel}",)
                for channel, own in self.channels.items()
                if (count := int((own & ~anywhere).sum()))
            ]
            yield (
                f"{int((~anywhere).sum())} of {total} features have no spread, or none but "
                f"noise, among the reference of any plate and are dropped: {listed(parts)}."
            )
        lacking = anywhere & ~kept
        if lacking.any():
            parts = []
            for channel, own in self.channels.items():
                missing = {
                    key: own & lacking & ~able
                    for key, able in self.able.items()
                    if channel not in self.dead.get(key, ())
                }
                where = [key for key, features in missing.items() if features.any()]
                if where:
                    count = np.any([missing[key] for key in where], 0).sum()
                    several = f"{len(where)} plates such as " if len(where) > 1 else ""
                    parts.append((f"{count} of {channel} on {several}{listed(where[:1])}",))
            yield (
                f"{int(lacking.sum())} of {total} features have no spread among the reference of "
                f"some plate and are dropped from all: {listed(parts)}."
            )


def survey(values, profiles, plates, features, rows, method):
    """What can be normalised on which plate.

    Parameters
    ----------
    values : numpy.ndarray
        (N, F), NaN where missing; features of dark channels are set missing.
    profiles : pd.DataFrame
        The N profiles, with their measures of quality and ``Metadata_status`` where there are any.
    plates : dict
        {key: rows}.
    features : list of str
        Names of the F features.
    rows : numpy.ndarray of bool
        (N,), the profiles that fits rest on.
    method : str
        Of normalisation; with spherize, which pools the plates, a plate with few profiles is not
        judged.

    Returns
    -------
    Survey
    """
    channels, dark = channel_features(features), dark_channels(profiles, plates)
    read = np.isfinite(values).any(1)
    for channel, own in channels.items():
        for key in dark.get(channel, ()):
            values[np.ix_(plates[key], own)] = np.nan
    overall = np.array([_deviation(column) for column in values.T])
    made = Survey(plates, channels, dark, overall, np.zeros(len(values), bool))
    measured = quality.channels(profiles)
    lit = np.ones(len(values), bool)
    if "Metadata_status" in profiles.columns:
        lit = (profiles["Metadata_status"] == "ok").to_numpy(bool)
    for key, members in plates.items():
        able, complete = _judged(values[members], rows[members], overall, method)
        dead = [c for c, own in channels.items() if (~able[own]).mean() > DEAD_SHARE]
        unlit = [key in dark.get(channel, ()) for channel in measured]
        if not read[members].any():
            made.lost[key] = UNREAD
        elif (unlit and all(unlit)) or not np.isfinite(values[members]).any():
            made.lost[key] = DARK
        elif lit.any() and not lit[members].any():
            made.lost[key] = EMPTY
        elif method != "spherize" and complete.sum() < LEAST_REFERENCE:
            made.lost[key] = FEW
        elif len(dead) == len(channels):
            made.lost[key] = FLAT
        if key in made.lost:
            continue
        for channel in dead:
            able &= ~channels[channel]
        made.able[key] = able
        made.fitted[members[complete]] = True
        if dead:
            made.dead[key] = dead
    return made


def _judged(values, rows, overall, method):
    """Of one plate: the features that can be normalised, and the rows of the fit."""
    finite = np.isfinite(values)
    chosen = rows & finite.any(1)
    # A feature that most of the reference lacks is given up, not the profiles that lack it.
    measured = finite[chosen].sum(0) > chosen.sum() / 2
    complete = chosen & finite[:, measured].all(1)
    if complete.sum() >= LEAST_REFERENCE:
        return varies(values[complete], overall, method), complete
    return finite.any(0), complete


def _deviation(column):
    """Standard deviation of what is there; 0 where nothing is."""
    there = column[np.isfinite(column)]
    return there.std(dtype=float) if len(there) else 0.0
