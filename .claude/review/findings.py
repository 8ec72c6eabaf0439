"""What a review finds of a run: the report, the picture and --json are made of it."""

from dataclasses import dataclass, field


@dataclass
class Gain:
    """A gain in AUC over the start, its standard error and its 95 % interval."""

    mean: float
    se: float
    interval: list[float]


@dataclass
class Keep:
    """A commit that the ratchet kept."""

    iteration: int
    commit: str
    val_auc: float
    # val_auc less that of the keep before; None of the start.
    delta: float | None
    idea: str
    # On rows that did not choose it.
    gain: Gain | None = None
    # val_auc with each fold fitted alone; None if it was not scored again.
    alone: float | None = None


@dataclass
class Luck:
    """How far as many ideas, all worth the same, climb."""

    n_ideas: int
    mean: float
    # One night in 20 climbs higher.
    most: float
    # The same after 0 to n_ideas ideas.
    band: list[float]
    # How far this night climbed.
    climb: float


@dataclass
class OnTest:
    """The AUCs of the start and of the chosen commit on the test part."""

    n_rows: int
    start: float
    chosen: float
    gain: Gain


@dataclass
class Review:
    """All that a review finds: what --json prints, and the report is made of."""

    run: str
    minutes: float
    iterations: int
    kept: int
    discarded: int
    crashed: int
    # The start, then the keeps.
    keeps: list[Keep]
    problems: list[str] = field(default_factory=list)
    # Scored commits that have no record.
    n_missing: int = 0
    chosen: Keep | None = None
    luck: Luck | None = None
    gain: Gain | None = None
    test: OnTest | None = None
    # Both gains together; the verdict goes by this one.
    on_all_rows: Gain | None = None
    # Why the start or the chosen commit has no score when each fold is fitted alone.
    crash: str = ""
    # Whether the score of the chosen commit needs other fits beside it.
    needs_others: bool = False
    # Whether the folds and the test part contradict each other.
    contradicted: bool = False
    was_interrupted: bool = False
    verdict: str = ""

    @property
    def record_is_true(self) -> bool:
        """Whether the log, git and the records agree, and no score was made up."""
        return not (self.problems or self.crash or self.needs_others)
