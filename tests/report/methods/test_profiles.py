"""Profiles are read by class and value function, and noise is never read as strength."""

from __future__ import annotations

import numpy as np
import pytest
from markupsafe import Markup
from scipy import stats
from tests.report.methods.context import context, plain

from whywrong.report.methods.profiles.section import both_readings, curve, read, section
from whywrong.report.tables import Row

RATIOS = (0.0, 0.1, 0.5, 0.9, 1.0)


def rows(strengths, name="target", noise=0.0, sign=1.0, **more) -> list[Row]:
    noises = noise if isinstance(noise, (list, tuple)) else [noise] * len(strengths)
    return [
        Row(
            {"status": "ok", "value": "log_odds", "class": name, "order": int(194 * ratio), "ratio": ratio, "A": s,
             "U": s * s, "U_se": 0.001 * s * s, "M": sign * s / 2, "M_se": s / 50, "noise_share": n, "noisy": n > 0.3,
             "exact": ratio in (0, 1), "units": 1 if ratio in (0, 1) else 20, "players": "tokens", "rows": 14,
             "cols": 14, "pairs": 40, "passes": 2900, **more}
        )
        for ratio, s, n in zip(RATIOS, strengths, noises, strict=True)
    ]  # fmt: skip


def said(*arguments, **options) -> str:
    found = read(curve(rows(*arguments, **options), "target"))  # type: ignore[arg-type]
    return (found.statement + found.numbers + found.sign).replace("\u00a0", " ")


def test_the_strongest_order_is_named_with_its_contrast_and_sign():
    assert said([0.8, 0.5, 0.1, 0.2, 0.3]) == (
        "patches interact most when little else is visible (0.8 with none of the others present, 0.1 with 50 %);"
        " there, they mostly help each other"
    )
    assert "when nearly everything else is visible" in said([0.1, 0.1, 0.1, 0.2, 0.7])
    assert "when about half of the image is visible" in said([0.1, 0.1, 0.5, 0.2, 0.1])
    assert said([0.8, 0.5, 0.1, 0.2, 0.3], sign=-1).endswith("they mostly repeat or contradict each other")
    assert said([0.8, 0.5, 0.1, 0.2, 0.3], sign=0).endswith("balance")


def test_a_strength_that_is_mostly_noise_is_never_named():
    noisy = [0.9, 0.0, 0.0, 0.0, 0.0]
    assert "nearly everything else" in said([5.0, 0.1, 0.1, 0.2, 0.4], noise=noisy)
    assert said([5.0, 0.1, 0.1, 0.2, 0.4], noise=0.31) == "no strength stands out from the sampling noise"
    assert "0.8 with none" in said([0.8, 0.1, 0.1, 0.2, 0.4], noise=0.3)


def test_intervals_that_overlap_everywhere_let_no_order_stand_out():
    assert "does not clearly depend on" in said([0.2, 0.21, 0.2, 0.2, 0.2], U_se=0.02, exact=False, units=20)


def test_no_interaction_is_said():
    assert said([0.0, 0.0, 0.0, 0.0, 0.0]) == "patches do not interact: each has its effect alone"


def test_the_band_is_that_of_the_square_by_students_t_over_the_draws():
    found = curve(rows([0.5] * 5, U_se=0.05), "target")
    assert found is not None
    half = stats.t.ppf(0.975, 19) * 0.05
    assert found.low[1] == pytest.approx(np.sqrt(0.25 - half))
    assert found.high[1] == pytest.approx(np.sqrt(0.25 + half))
    assert found.low[0] == found.value[0] == found.high[0] == 0.5  # an exact order has no interval


def test_an_unknown_interval_is_no_narrow_one():
    strengths = rows([0.2, 5.0, 0.1, 0.1, 0.2])
    strengths[1]["U_se"] = None  # two draws leave no interval
    found = curve(strengths, "target")
    assert found is not None
    assert np.isnan(found.high[1])
    assert found.solid.tolist() == [True, False, True, True, True]
    assert read(found).numbers.startswith(" (0.2 with")
    assert "as far as the noise allows" in read(found).statement
    part_of = section(context(profiles=strengths))
    assert part_of is not None
    (panel,) = part_of.panels
    assert panel.table.rows[1][2] == "unknown"  # type: ignore[union-attr]
    assert any("too few samples" in note for note in panel.notes)


def test_a_square_below_zero_is_no_strength():
    found = curve(rows([0.5] * 5, U=-0.01), "target")
    assert found is not None
    assert not found.value.any()


def test_two_classes_that_say_the_same_share_a_sentence():
    one, other = curve(rows([0.8, 0.5, 0.1, 0.2, 0.3]), "target"), curve(rows([0.1, 0.1, 0.1, 0.2, 0.7]), "target")
    assert one is not None
    assert other is not None
    a, b = Markup("a"), Markup("b")
    assert len(both_readings([(one, a), (one, b)], "log-odds")) == 1
    different = both_readings([(one, a), (other, b)], "log-odds")
    assert [text[:22] for text in different] == ["By the log-odds of a, ", "By the log-odds of b, "]


def test_an_error_gets_one_chart_with_its_table_and_its_noise_marked():
    both = rows([0.8, 0.5, 0.1, 0.2, 0.3]) + rows([0.8, 0.5, 0.1, 0.2, 0.3], "true", noise=[0, 0, 0.4, 0, 0])
    found = section(context(profiles=both))
    assert found is not None
    (panel,) = found.panels
    assert panel.chart is not None  # type: ignore[union-attr]
    assert [line.role for line in panel.chart.lines] == ["wrong", "true"]  # type: ignore[union-attr]
    assert [hollow for *_, hollow in panel.chart.lines[1].points] == [False, False, True, False, False]  # type: ignore[union-attr]
    assert any("hollow point is unreliable" in note for note in panel.notes)
    assert [len(panel.table.rows), len(panel.table.head)] == [5, 9]  # type: ignore[union-attr]
    assert "ice cream" in plain(panel.readings)  # type: ignore[union-attr]
    assert "log-odds" in plain(panel.readings)  # type: ignore[union-attr]


def test_refused_and_skipped_profiles_draw_nothing():
    refused = section(context(profiles=[Row(status="refused", reason="logits are not finite")]))
    assert refused is not None
    assert refused.panels == []
    assert refused.blocks[0].rows[0][2] == "logits are not finite"
    assert section(context(profiles=[Row(status="skipped")])) is None
    assert section(context()) is None


def test_a_fallback_to_pixels_is_a_caveat():
    found = section(context(profiles=rows([0.8, 0.5, 0.1, 0.2, 0.3], fallback="no patch tokens")))
    assert found is not None
    assert "covered with other pixels" in found.caveats[0]
    assert "no patch tokens" in found.panels[0].table.note  # type: ignore[union-attr]
