"""Which commit to take: chosen and reported on different rows, beside luck alone."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from harness.noise import error_of_gain, luck, standard_errors
from review import choice

N_ROWS, N_FOLDS = 242, 5


# ------------------------------------------------------------------ the choice
def test_a_ratchet_keeps_strict_gains_alone():
    assert choice.kept_by_ratchet([0.5, 0.6, 0.6, 0.55, 0.7], 0) == [0, 1, 4]
    assert choice.kept_by_ratchet([0.5, 0.6, 0.65, 0.75], 0.12) == [0, 2]


def test_the_earliest_keep_within_one_standard_error_of_the_best_is_chosen():
    values = np.array([0.80, 0.88, 0.85, 0.90])
    errors = np.full((4, 4), 0.03)
    assert choice.choose(values, [0, 1, 3], errors) == 1
    assert choice.choose(values, [0, 1, 3], errors / 3) == 3
    assert choice.choose(values, [0, 1, 3], errors * 4) == 0


# ------------------------------------------------------------- weighted AUC
def test_weighted_auc_is_the_auc_of_the_rows_repeated_ties_included():
    random = np.random.default_rng(0)
    y, ranks = np.arange(40) % 2, random.integers(0, 9, 40)
    weights = random.integers(0, 4, (40, 20))
    for found, counts in zip(
        choice.weighted_aucs(ranks, y, weights), weights.T, strict=True
    ):
        rows = np.repeat(np.arange(40), counts)
        assert found == pytest.approx(roc_auc_score(y[rows], ranks[rows]))
    assert np.isnan(choice.weighted_aucs(ranks, y, y[:, None])[0])


def test_ranks_are_compared_within_their_fold_only():
    y, _, ranks, folds = simulated_night(np.random.default_rng(0), np.zeros(2), 0.5)
    moved = ranks + 1000 * folds
    every = np.arange(N_ROWS), np.ones((N_ROWS, 1))
    found = choice.mean_aucs(y, moved, folds, *every)[:, 0]
    aucs = [
        np.mean(
            [roc_auc_score(y[folds[0] == k], r[0, folds[0] == k]) for k in range(5)]
        )
        for r in ranks
    ]
    assert found == pytest.approx(aucs)
    assert aucs_of(y[folds[0] == 0], ranks[:, 0, folds[0] == 0]) == pytest.approx(
        [roc_auc_score(y[folds[0] == 0], r[0, folds[0] == 0]) for r in ranks]
    )


def test_a_bootstrap_draws_as_many_of_each_class_and_no_test_row():
    y, train = np.arange(50) % 3 % 2, np.arange(50) < 40
    group, drawn = choice.draw_rows(y, train)
    assert (group[~train] == -1).all() and sorted(group[train]) == [*range(40)]
    assert (drawn[group[train & (y == 1)]].sum(axis=0) == y[train].sum()).all()
    assert (drawn.sum(axis=0) == 40).all()


@pytest.mark.parametrize("n_rows", [N_ROWS, 200_000])
def test_the_standard_error_of_a_mean_is_the_textbooks(n_rows):
    random = np.random.default_rng(0)
    y, values = np.arange(n_rows) % 2, random.normal(size=n_rows)
    group, drawn = choice.draw_rows(y, y >= 0)
    inside = np.bincount(group, values) @ drawn
    found = choice.estimate(np.full(choice.RESAMPLES, 0.5), inside, drawn)
    of_classes = [(y == k).sum() * values[y == k].var() for k in (0, 1)]
    assert found["se"] == pytest.approx(sum(of_classes) ** 0.5, rel=0.1)
    ends = stats.norm.interval(0.95, found["mean"], found["se"])
    assert found["interval"] == pytest.approx(ends)


def test_noise_of_the_resamples_is_not_taken_for_an_error_of_the_gain():
    _, drawn = choice.draw_rows(np.arange(N_ROWS) % 2, np.arange(N_ROWS) >= 0)
    noise = np.random.default_rng(0).normal(size=choice.RESAMPLES)
    assert choice.estimate(noise, noise, drawn)["se"] < 0.25


# ---------------------------------------------------------- whole nights
def simulated_night(random, worth, noise, n_test=0):
    """Labels, scores, ranks and folds of commits that score rows so much better.

    A row's score has a part that all commits share and one of the commit's own. The
    last n_test rows are the test part.
    """
    n_rows = N_ROWS + n_test
    y = random.permutation(np.arange(n_rows) % 100 < 46).astype(int)
    shared = 1.7 * y + random.normal(size=n_rows)
    own = noise * random.normal(size=(len(worth), n_rows))
    scores = shared + own + np.multiply.outer(worth, y)
    folds, ranks = np.full((1, n_rows), -1), np.zeros((len(worth), 1, n_rows))
    cv = StratifiedKFold(N_FOLDS, shuffle=True, random_state=42)
    for k, (_, held) in enumerate(cv.split(y[:N_ROWS], y[:N_ROWS])):
        folds[0, held] = k
    for k in range(-1, N_FOLDS):
        held = folds[0] == k
        ranks[:, 0, held] = stats.rankdata(scores[:, held], axis=1)
    return y, scores, ranks, folds


def aucs_of(y, ranks):
    """AUCs of ranks (n_commits, n_rows): those of roc_auc_score, which is slower."""
    n_positive = y.sum()
    above = ranks[:, y == 1].sum(axis=1) - n_positive * (n_positive + 1) / 2
    return above / (n_positive * (len(y) - n_positive))


def fold_aucs_of(y, ranks, folds):
    """(n_commits, 1, N_FOLDS) of ranks (n_commits, n_rows)."""
    held = [folds[0] == k for k in range(N_FOLDS)]
    return np.transpose([aucs_of(y[h], ranks[:, h]) for h in held])[:, None]


def morning(random, worth, noise):
    """(corrected gain, tuned gain, fresh-fold gain of the chosen, climb, luck)."""
    y, scores, ranks, folds = simulated_night(random, worth, noise)
    aucs = fold_aucs_of(y, ranks[:, 0], folds)
    values, errors = aucs.mean(axis=(1, 2)), standard_errors(aucs)
    kept = choice.kept_by_ratchet(values, 0)
    chosen = choice.choose(values, kept, errors)
    corrected = choice.corrected_gains(y, ranks, folds, kept, errors, 0)
    two = scores[[0, chosen]]
    fresh = np.mean(
        [aucs_of(y[h], stats.rankdata(two[:, h], axis=1)) for _, h in FRESH(y)], axis=0
    )
    climb = values[kept[-1]] - values[0]
    by_luck = luck(errors, len(worth) - 1, 0)[0][-1]
    # The review reports no gain of a night without a keep: that is 0, for sure.
    if kept == [0]:
        corrected["choice"] = {"mean": 0.0, "se": np.nan, "interval": [np.nan] * 2}
    tuned = values[chosen] - values[0]
    return corrected["choice"], tuned, fresh[1] - fresh[0], climb, by_luck


def FRESH(y):
    cv = StratifiedKFold(N_FOLDS, shuffle=True, random_state=7)
    return cv.split(y, y)


def mornings(runs, worth, noise):
    """Columns of `runs` mornings: gain, se and ends of its interval, then morning()'s.

    Of the nights without an interval, these are NaN.
    """
    random, found = np.random.default_rng(11), []
    for _ in range(runs):
        corrected, *others = morning(random, worth, noise)
        interval = corrected["interval"]
        found.append([corrected["mean"], corrected["se"], *interval, *others])
    return np.array(found, dtype=float).T


def share(is_so, ends):
    """Of the nights with an interval, those in which it is so."""
    return is_so[np.isfinite(ends)].mean()


def is_zero(values):
    """Whether their mean is 0 within 3 standard errors."""
    return abs(values.mean()) < 3 * stats.sem(values)


def test_of_equal_ideas_the_reported_gain_is_0_and_the_tuned_one_is_not(monkeypatch):
    monkeypatch.setattr(choice, "RESAMPLES", 200)
    found = mornings(40, np.zeros(31), 0.35)
    gains, _, low, high, tuned, fresh, climb, luck = found
    assert is_zero(gains)
    assert share((low <= 0) & (high >= 0), low) >= 0.85 and share(low > 0, low) <= 0.1
    for biased in (tuned, fresh):
        assert biased.mean() > 5 * stats.sem(biased)
    assert abs(climb.mean() - luck.mean()) < 3 * stats.sem(climb - luck)


def test_truly_better_ideas_are_found(monkeypatch):
    monkeypatch.setattr(choice, "RESAMPLES", 200)
    worth = 0.5 * (np.arange(31) >= 8)
    gains, _, low, *_ = mornings(12, worth, 0.35)
    assert share(low > 0, low) >= 0.9
    truth = np.diff(stats.norm.cdf(np.array([1.7, 2.2]) / (2 * (1 + 0.35**2)) ** 0.5))
    assert abs(gains.mean() - truth[0]) < 3 * stats.sem(gains)


@pytest.mark.thorough
@pytest.mark.parametrize("noise", [0.15, 0.35, 1.0])
def test_intervals_of_equal_ideas_cover_0_in_about_95_percent_of_nights(
    noise, monkeypatch
):
    monkeypatch.setattr(choice, "RESAMPLES", 300)
    found = mornings(400, np.zeros(31), noise)
    gains, errors, low, high, tuned, fresh, climb, luck = found
    assert is_zero(gains)
    assert share((low <= 0) & (high >= 0), low) >= 0.92 and share(low > 0, low) <= 0.05
    # Nor are they wide. Between scores that are nearly equal, at the least noise, a
    # bootstrap of rows overstates the error of the AUC's difference.
    assert 0.7 <= gains.std() / np.nanmean(errors) <= 1.15
    assert min(tuned.mean() / stats.sem(tuned), fresh.mean() / stats.sem(fresh)) > 5
    assert abs(climb.mean() - luck.mean()) < 3 * stats.sem(climb - luck)


@pytest.mark.thorough
def test_one_better_idea_among_equal_ones_is_found_and_not_overrated(monkeypatch):
    monkeypatch.setattr(choice, "RESAMPLES", 300)
    gains, _, low, *_ = mornings(200, 0.4 * (np.arange(31) == 12), 0.35)
    truth = np.diff(stats.norm.cdf(np.array([1.7, 2.1]) / (2 * (1 + 0.35**2)) ** 0.5))
    assert share(low > 0, low) >= 0.7 and share(low > truth, low) <= 0.05
    # Some resamples miss it.
    assert 0.75 * truth < gains.mean() < truth


# ---------------------------------------------------------------- the test part
def test_the_gain_on_the_test_part_is_paired_and_of_the_test_rows_alone():
    random, y = np.random.default_rng(0), np.arange(300) % 2
    ranks = random.normal(size=(2, 300)) + y
    test = np.arange(300) >= 240
    ranks[:, ~test] = np.nan
    aucs, found = choice.gain_on_test(y, ranks, test)
    exact = [roc_auc_score(y[test], scores[test]) for scores in ranks]
    assert aucs == pytest.approx(exact)
    assert found["mean"] == pytest.approx(exact[1] - exact[0])
    low, high = found["interval"]
    assert low < found["mean"] < high
    _, same = choice.gain_on_test(y, ranks[[0, 0]], test)
    assert same == {"mean": 0, "se": 0, "interval": [0, 0]}


def test_of_equal_ideas_no_gain_is_shown_on_all_rows(monkeypatch):
    monkeypatch.setattr(choice, "RESAMPLES", 200)
    gains = [choice.gain_on_all_rows(*night) for night in honest_nights(60, (0,))]
    assert is_zero(np.array([gain["mean"] for gain in gains]))
    assert np.mean([gain["interval"][0] > 0 for gain in gains]) <= 0.1


def test_each_row_counts_once_in_the_gain_on_all_rows():
    on_train, on_test = {"mean": 0.03, "se": 0.01}, {"mean": -0.01, "se": 0.02}
    found = choice.gain_on_all_rows(on_train, on_test, np.arange(100) >= 80)
    error = np.sqrt((0.8 * 0.01) ** 2 + (0.2 * 0.02) ** 2)
    assert found["mean"] == pytest.approx((80 * 0.03 - 20 * 0.01) / 100)
    assert found["se"] == pytest.approx(error)
    assert found["interval"] == pytest.approx(stats.norm.interval(0.95, 0.022, error))


# ------------------------------------------------------- what can't be honest
def honest_nights(n_nights, kinds=(0, 1, 2), seed=0):
    """(gain on the folds, on the test part, test rows) of each chosen commit.

    Three kinds of nights: equal ideas, worse and better ones, and a step upwards.
    """
    random, found, n_ideas = np.random.default_rng(seed), [], 15
    for night in range(n_nights):
        worth = [
            np.zeros(1 + n_ideas),
            np.r_[0, random.normal(0, 0.15, n_ideas)],
            0.4 * (np.arange(1 + n_ideas) >= 5),
        ][kinds[night % len(kinds)]]
        noise = random.choice([0.05, 0.15, 0.35, 0.7, 1.2])
        y, _, ranks, folds = simulated_night(random, worth, noise, n_test=61)
        aucs = fold_aucs_of(y, ranks[:, 0], folds)
        values, errors = aucs.mean(axis=(1, 2)), standard_errors(aucs)
        kept = choice.kept_by_ratchet(values, 0)
        if chosen := choice.choose(values, kept, errors):
            gains = choice.corrected_gains(y, ranks, folds, kept, errors, 0)["choice"]
            test = folds[0] < 0
            _, on_test = choice.gain_on_test(y, ranks[[0, chosen], 0], test)
            found.append((gains, on_test, test))
    return found


def contradictions(n_nights, seed=0):
    """Standard errors between the two gains of the chosen, of honest nights."""
    return np.array(
        [
            (gains["mean"] - on_test["mean"]) / np.hypot(gains["se"], on_test["se"])
            for gains, on_test, _ in honest_nights(n_nights, seed=seed)
        ]
    )


def test_honest_nights_seldom_contradict_their_test_part(monkeypatch):
    monkeypatch.setattr(choice, "RESAMPLES", 200)
    assert max(contradictions(60)) < choice.CONTRADICTION


@pytest.mark.thorough
def test_of_honest_nights_one_in_1000_contradicts_its_test_part(monkeypatch):
    monkeypatch.setattr(choice, "RESAMPLES", 200)
    assert (contradictions(2000, seed=1) > choice.CONTRADICTION).sum() <= 2


def test_a_gain_that_the_test_part_does_not_have_contradicts_it():
    folds, test = {"mean": 0.0726, "se": 0.0137}, {"mean": -0.0022, "se": 0.003}
    assert choice.contradict(folds, test) and not choice.contradict(test, folds)
    assert not choice.contradict(folds, {"mean": 0.01, "se": 0.03})


UNSEEDED = {
    "forest": lambda _: RandomForestClassifier(15),
    "boosting": lambda random: HistGradientBoostingClassifier(
        max_iter=15, max_features=0.4, random_state=random.integers(2**31)
    ),
    # As a search that the clock ends: each fit may end in another kind of model.
    "search": lambda random: [
        RandomForestClassifier(5 + random.integers(20), max_features=random.random()),
        LogisticRegression(C=10 ** random.uniform(-3, 1)),
    ][random.integers(2)],
}


def falls(name, n_nights, n_pool=30, n_ideas=30):
    """Falls of the chosen's score in honest nights, in standard errors of its gain.

    The start and all ideas are the same model, which is not seeded. Fits of a fold are
    drawn from n_pool of them.
    """
    X, y = make_classification(242, 8, n_informative=4, flip_y=0.2, random_state=1)
    random, folds = np.random.default_rng(3), np.full((1, 242), -1)
    pool = np.full((n_pool, 242), np.nan)
    for k, (fit, held) in enumerate(StratifiedKFold(N_FOLDS).split(X, y)):
        folds[0, held] = k
        for fitted in pool:
            # Threads of such small fits would wait for each other.
            with threadpool_limits(1):
                model = UNSEEDED[name](random).fit(X[fit], y[fit])
                fitted[held] = stats.rankdata(model.predict_proba(X[held])[:, 1])
    of_pool = fold_aucs_of(y, pool, folds)[:, 0]
    found, every = [], np.arange(N_FOLDS)
    for _ in range(n_nights):
        fits = random.integers(n_pool, size=(1 + n_ideas + 4, N_FOLDS))
        scores = of_pool[fits, every]
        *night, start, _, _, _ = aucs = scores[:, None]
        aucs, again = np.array(night), aucs[-3:]
        values, errors = aucs.mean(axis=(1, 2)), standard_errors(aucs)
        chosen = choice.choose(values, choice.kept_by_ratchet(values, 0), errors)
        alone = [pool[fit[folds], np.arange(242)] for fit in fits[-4:-2]]
        noise = error_of_gain(y, folds, *np.array(alone))
        drops = [values[0] - start.mean(), values[chosen] - again[0].mean()]
        fall = max(drops[: 1 + (chosen > 0)])
        if fall > choice.FALL * noise:
            noise = np.hypot(noise, choice.noise_of_fits(again))
        found.append(fall / noise)
    return np.array(found)


@pytest.mark.parametrize("name", UNSEEDED)
def test_chance_lets_no_honest_model_fall_as_far_as_a_channel_does(name, monkeypatch):
    monkeypatch.setattr(choice, "RESAMPLES", 200)
    assert max(falls(name, 60, n_pool=12)) < choice.FALL


@pytest.mark.thorough
@pytest.mark.parametrize("name", UNSEEDED)
def test_chance_lets_one_in_1000_honest_models_fall_as_far(name, monkeypatch):
    monkeypatch.setattr(choice, "RESAMPLES", 200)
    assert (falls(name, 2000, n_pool=50) > choice.FALL).sum() <= 2
