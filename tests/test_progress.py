"""What long runs say of themselves."""

import pytest

from unidino import progress


@pytest.mark.parametrize(("left", "told"), [(12, False), (4000, True)])
def test_what_is_left_is_estimated_once_from_what_was_done(left, told, monkeypatch, capsys):
    clock = iter([2.0, 4.0, 12.0, 13.0, 14.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    pace = progress.Pace(left + 6, "site")
    pace.skip(6)
    for _ in range(5):
        pace.done(2)
    # Four sites in the ten seconds after the first two: 3994 take 9985 seconds.
    said = capsys.readouterr().err
    assert said == ("0.4 sites a second: about 3 hours to go\n" if told else "")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 seconds"), (119, "119 seconds"), (120, "2 minutes"), (7200, "2 hours"),
     (2 * 86400, "2 days"), (2 * 604800, "2 weeks")],
)  # fmt: skip
def test_times_in_words(seconds, words):
    assert progress.in_words(seconds) == words
