"""Make a misclassified image right by asking a black box, with or without a surrogate.

Source: method B of Haffar et al. 2021, DOI 10.1007/978-3-030-85529-1_26 (abstract: a surrogate supplies the gradients);
the offline direction with queries about its length only, the correction by answers and the order of steps are ours,
docs/methods/black_box.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.black_box.config import BlackBoxConfig
from whywrong.attacks.black_box.history import History
from whywrong.attacks.black_box.planner import plan
from whywrong.attacks.black_box.result import BlackBoxResult
from whywrong.attacks.black_box.search import DirectionSearch
from whywrong.attacks.black_box.tails import search_by_labels, search_by_scores
from whywrong.attacks.queries.call import QueryCall
from whywrong.attacks.queries.config import QueryConfig
from whywrong.attacks.queries.memory import AnswerMemory
from whywrong.attacks.queries.result import QueryResult
from whywrong.attacks.surrogates.models import Surrogate
from whywrong.attacks.surrogates.named import named_surrogate
from whywrong.core.access import Access
from whywrong.core.status import Status
from whywrong.doors.methods import open_inputs
from whywrong.models.classifier import Classifier
from whywrong.models.listed import listed_scores
from whywrong.models.method_call import MethodCall


@open_inputs
def black_box(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    surrogate: Surrogate | None = None,
    keys: Tensor | None = None,
    config: BlackBoxConfig | None = None,
) -> BlackBoxResult:
    """Search a small change after which ``y`` is predicted, asking for predictions only.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to scores (B, K) or labels (B,), as an endpoint or an ONNX file.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: True classes, (B,), int64.
        surrogate: Models that stand in for the black box; None for those that the settings name.
        keys: Seed of each image's random numbers, (B,), int64; default derived from ``config.seed`` and the row index.
        config: Settings; None uses the defaults of :class:`BlackBoxConfig`.

    Returns:
        Fixes of whole grey levels, the queries of each image and the steps that asked them.

    Raises:
        InputError: A shape, type or class is invalid, or the surrogate has other classes or another input size.
        AccessError: The surrogate grants no gradients.

    Example:
        >>> import torch, whywrong as ww
        >>> black_box = ww.load_classifier("planted:cnn", access="labels")
        >>> surrogate = ww.Surrogate.own(ww.load_classifier("planted:vit"))
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> config = ww.BlackBoxConfig(queries=4, steps=2)
        >>> ww.black_box(black_box, x, y, surrogate=surrogate, config=config).tier
        ['own', 'own']
    """
    config = config or BlackBoxConfig()
    known, asked = _clean_answers(classifier, x, y, config)
    if surrogate is None:
        surrogate = named_surrogate(config.own, config.bank, config.distilled, classifier)
    if surrogate is not None:
        channels, height, width = x.shape[1:]
        surrogate.check(classifier, (channels, height, width))
    memory = AnswerMemory()
    settings = QueryConfig(eps=config.eps, queries=config.queries, confirm=config.confirm, ask_again=0)
    with QueryCall(
        classifier, x, y, keys=keys, config=settings, access=_access(classifier, config), method="black_box",
        known=known, memory=memory, exact=True,
    ) as call:  # fmt: skip
        call.count(asked, forwards=1)
        return _Run(call, surrogate, known, memory, config).run()


class _Run:
    """One call of :func:`black_box`: its steps in their order, and what each cost."""

    def __init__(
        self, call: QueryCall, surrogate: Surrogate | None, known: Tensor, memory: AnswerMemory, config: BlackBoxConfig
    ) -> None:
        self.call, self.surrogate, self.known, self.memory, self.config = call, surrogate, known, memory, config
        self.scores = known.ndim == 2
        self.spent: list[tuple[str, Tensor]] = []
        self.found_by = torch.full_like(call.y, -1)  # index into ``spent``
        self.passes = torch.zeros_like(call.y)
        self.clean = call.x.new_full((len(call.x),), torch.nan)

    def run(self) -> BlackBoxResult:
        """Take the steps of the plan until all images are right or the budget is used up."""
        rows, answers = self.call.begin()
        self.clean[rows] = answers.margin
        search = self._search(rows, answers.margin) if self.surrogate is not None and len(rows) else None
        for step in plan(self.config, scores=self.scores, surrogate=search is not None):
            rows = rows[self.call.going_on(rows)]
            if not len(rows):
                break
            before, open_before = self.call.queries.clone(), ~self.call.found
            if step.step == "square":
                search_by_scores(self.call, rows, self.known, self.memory, self.config)
            elif step.step == "labels":
                search_by_labels(self.call, rows, self.known, self.memory, self.config)
            elif search is not None and step.step in ("direction", "corrected"):
                search.run(rows, step.queries)
            self.found_by[open_before & self.call.found] = len(self.spent)
            self.spent.append((step.step, self.call.queries - before))
        if search is not None:
            self.passes = search.history.passes
        return self._result()

    def _search(self, rows: Tensor, margin: Tensor) -> DirectionSearch:
        assert self.surrogate is not None
        with torch.inference_mode(False):
            known = self.known
            if self.call.classifier.access == Access.TOP and self.scores:  # unlisted scores are unknown, not small
                known = known.nan_to_num(-torch.inf).argmax(1)
            history = History(self.surrogate.models, self.call.ball.x, self.call.y, known, rows)
        search = DirectionSearch(self.call, history, self.config)
        search.begin(rows, margin)
        return search

    def _result(self) -> BlackBoxResult:
        found = self.call.result(QueryResult)
        fixed = torch.tensor([word == Status.OK for word in found.status], dtype=torch.bool, device=found.l2.device)
        names = [name for name, _ in self.spent]
        by = self.found_by.where(fixed, -1).tolist()
        counts = [number.tolist() for _, number in self.spent]
        batch = len(found.status)
        path = [
            [{"step": name, "queries": count[row]} for name, count in zip(names, counts, strict=True) if count[row]]
            for row in range(batch)
        ]
        tier = "none" if self.surrogate is None else self.surrogate.tier
        training = 0 if self.surrogate is None else self.surrogate.queries
        return BlackBoxResult(
            status=found.status,
            reason=found.reason,
            tier=[tier] * batch,
            access=[_access(self.call.classifier, self.config).name.lower()] * batch,
            step=[names[index] if index >= 0 else "" for index in by],
            queries=found.queries,
            training_queries=torch.full_like(found.queries, training),
            path=path,
            surrogate_passes=self.passes,
            l2=found.l2.where(fixed, torch.nan),
            linf=found.linf.where(fixed, torch.nan),
            margin_before=self.clean,
            margin_after=found.margin,
            fix_u8=(255 * found.image).round().where(fixed.view(-1, 1, 1, 1), torch.nan),
            image_u8=(255 * self.call.ball.x).round().where(fixed.view(-1, 1, 1, 1), torch.nan),
            forwards=found.forwards,
            backwards=found.backwards,
        )


def _access(classifier: Classifier, config: BlackBoxConfig) -> Access:
    return Access.LABELS if config.labels_only else min(classifier.access, Access.SCORES)


def _clean_answers(classifier: Classifier, x: Tensor, y: Tensor, config: BlackBoxConfig) -> tuple[Tensor, Tensor]:
    """Ask about the unchanged images, which is no query of the search: that they are wrong is known.

    Returns:
        Logits (B, K) of the black box, those of the best classes if it lists no others, or labels (B,) int64; NaN or -1
        where there is no answer. And the rows asked.
    """
    with MethodCall(classifier, x, y, method="black_box", access=Access.LABELS) as call:
        rows = call.rows if config.queries else call.rows[:0]
        if _access(classifier, config) >= Access.TOP:
            if not len(rows):
                return call.x.new_full((len(call.x), 2), torch.nan), rows
            listed = classifier.access == Access.TOP
            logits = listed_scores(classifier, call.x[rows]) if listed else call.logits(rows, call.x[rows])
            known = logits.new_full((len(call.x), logits.shape[1]), torch.nan)
            known[rows] = logits
            return known, rows
        labels = torch.full_like(call.y, -1)
        if len(rows):
            labels[rows] = classifier.predict(call.x[rows])
        return labels, rows
