"""How much of a gain may be chance is said truly, held against simulation."""

import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.metrics import roc_auc_score
from test_choice import N_FOLDS, fold_aucs_of, simulated_night

from harness import noise
from harness.records import Block, Record


# ---------------------------------------------------------------- the error of a gain
def val_auc(y, scores, folds):
    """The mean of the folds' AUCs, by scikit-learn."""
    held = [folds == k for k in range(folds.max() + 1)]
    return np.mean([roc_auc_score(y[h], scores[h]) for h in held])


def test_the_error_of_a_gain_is_that_of_a_bootstrap_of_the_rows():
    random = np.random.default_rng(0)
    y, _, ranks, folds = simulated_night(random, [0, 0.3], 0.5, n_test=61)
    gains = []
    for _ in range(200):
        # Rows are drawn within their fold and class.
        groups = [np.flatnonzero(2 * folds[0] + y == g) for g in range(2 * N_FOLDS)]
        rows = np.concatenate([random.choice(g, len(g)) for g in groups])
        old, new = (val_auc(y[rows], r[0, rows], folds[0, rows]) for r in ranks)
        gains.append(new - old)
    error = noise.error_of_gain(y, folds, ranks[1], ranks[0])
    assert error == pytest.approx(np.std(gains), rel=0.15)


@pytest.mark.parametrize(("worth", "own"), [(0, 0.1), (0, 1.0), (0.4, 0.5)])
def test_the_error_of_a_gain_is_how_far_gains_on_other_rows_spread(worth, own):
    random, gains, errors = np.random.default_rng(1), [], []
    for _ in range(400):
        y, _, ranks, folds = simulated_night(random, [0, worth], own)
        old, new = fold_aucs_of(y, ranks[:, 0], folds)[:, 0].mean(axis=1)
        gains.append(new - old)
        errors.append(noise.error_of_gain(y, folds, ranks[1], ranks[0]))
    # Too large, never too small, where the commits rank nearly all rows alike.
    assert 0.9 < np.mean(errors) / np.std(gains) < (1.3 if own < 0.5 else 1.1)
    inside = np.abs(gains - np.mean(gains)) < noise.IN_95_PERCENT * np.array(errors)
    assert 0.92 < inside.mean() < (1 if own < 0.5 else 0.98)


def test_a_fold_with_one_positive_and_repeats_of_the_same_folds_are_no_obstacle():
    y, folds = np.array([1, 0, 0, 1, 0, 0]), np.array([[0, 0, 0, 1, 1, 1]])
    ranks = np.array([[3, 1, 2, 1, 2, 3]]), np.array([[1.5, 1.5, 3, 1, 2, 3]])
    thrice = np.repeat(ranks, 3, axis=1)
    error = noise.error_of_gain(y, folds, *ranks)
    assert error == noise.error_of_gain(y, folds.repeat(3, 0), *thrice) > 0


def test_a_gain_a_loss_and_no_change_are_told_apart(monkeypatch):
    def record(commit, auc, bar="", error=0.0):
        fold_aucs = np.full((1, N_FOLDS), auc)
        return Record(Block(commit), "", {}, fold_aucs, bar=bar, error=error)

    bar = record("bar", 0.9)
    monkeypatch.setattr(noise.records, "read", {"bar": bar}.get)
    for auc, error, words in [
        (0.92, 0.005, "Δ ± 0.0098 (95 %, on other rows): a gain beyond the noise"),
        (0.88, 0.005, "Δ ± 0.0098 (95 %, on other rows): a loss beyond the noise"),
        (0.92, 0.05, "Δ ± 0.0980 (95 %, on other rows): within the noise"),
        (0.9, 0.05, "same scores as the bar: the change had no effect"),
    ]:
        assert noise.gain_line(record("new", auc, "bar", error)) == words
    assert noise.gain_line(bar) == ""


# ---------------------------------------------------------------------- luck
def test_standard_errors_are_those_of_paired_t_tests():
    aucs = np.random.default_rng(0).random((3, 1, N_FOLDS))
    errors = noise.standard_errors(aucs)
    t = stats.ttest_rel(aucs[2, 0], aucs[1, 0]).statistic
    assert errors[2, 1] == pytest.approx(abs((aucs[2] - aucs[1]).mean() / t))
    assert errors[2, 1] == errors[1, 2] and errors[0, 0] == 0


def test_repeats_of_the_same_rows_are_no_more_rows():
    aucs = np.random.default_rng(0).random((3, 1, N_FOLDS))
    once, often = (noise.standard_errors(np.tile(aucs, (1, n, 1))) for n in (1, 50))
    assert often == pytest.approx(once * (4 / 5) ** 0.5, rel=0.01)


# ---------------------------------------------------------------------- luck
def test_luck_is_the_expected_maximum_of_normal_scores():
    def expected_maximum(n):
        def density(x):
            return x * n * stats.norm.pdf(x) * stats.norm.cdf(x) ** (n - 1)

        return integrate.quad(density, -9, 9)[0]

    sd = 0.004
    errors = sd * 2**0.5 * (1 - np.eye(5))
    mean, most = noise.luck(errors, 30, 0.0)
    for n_ideas in (1, 5, 30):
        exact = sd * expected_maximum(1 + n_ideas)
        assert mean[n_ideas] == pytest.approx(exact, abs=4 * sd / noise.NIGHTS**0.5)
    assert mean[0] == 0 and (np.diff(mean) > 0).all() and (most[1:] > mean[1:]).all()


def test_luck_is_less_where_a_keep_must_be_well_above_the_bar():
    errors = 0.006 * (1 - np.eye(5))
    easy, strict = (noise.luck(errors, 30, bar)[0][-1] for bar in (0.0, 0.005))
    assert 0 < strict < easy


def test_large_gains_do_not_hide_that_the_rest_of_a_climb_may_be_luck():
    def kept(val_auc, bar="a" * 40):
        return val_auc, Record(Block(), "", {}, bar=bar, error=0.001)

    assert noise.climb_in_words([kept(0.8, "")]).startswith("this run +0.0000, ")
    climb = [kept(0.82, ""), kept(0.97), kept(0.971), (0.9715, None), kept(0.9714)]
    told = "this run +0.1514, +0.0014 of it within the noise"
    assert noise.climb_in_words(climb) == told
