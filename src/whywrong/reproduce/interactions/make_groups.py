"""Construction of groups of images for a comparison of interactions, by sorting, attacking and corrupting."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from whywrong.attacks.pgd import pgd
from whywrong.core.access import Access
from whywrong.core.checks import bad_rows, check_classes, check_images, check_keys, check_labels
from whywrong.core.errors import InputError
from whywrong.core.margins import best_other
from whywrong.core.randomness import row_keys
from whywrong.data.corruptions import SEVERITIES, corrupt
from whywrong.explain.masking.values import ValueFunction, class_values
from whywrong.models.classifier import Classifier
from whywrong.reproduce.interactions.groups import GROUPS, Group, Groups, GroupsConfig

FEWEST = 20
_CHUNK = 64  # correct images processed at a time
_HALVINGS = 12
REMEDY = {
    "correct": "the model reads no image as labelled: check the labels with `whywrong check`",
    "clean_mis": "give more images, or leave this group out",
    "adv_mis": "raise eps or steps, or lower matched_drop",
    "corrupt_mis": "raise severity or name harsher kinds, or change matched_drop",
    "control": "give more images, lower severity, or leave this group out",
}


def make_groups(
    classifier: Classifier, x: Tensor, y: Tensor, *, keys: Tensor | None = None, config: GroupsConfig | None = None
) -> Groups:
    """Sort images into correct and misclassified ones, and make errors.

    Correct images are processed in order, a batch at a time, until every group is full; so ``correct`` and the sources
    of the errors are the same images if possible.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K); must grant gradients for ``adv_mis``.
        x: Images, (N, C, H, W), floating point, in [0, 1]; left untouched.
        y: True classes, (N,), int64.
        keys: Seed of each image's attack and corruption, (N,) int64; None uses (config.seed, row).
        config: Settings; None uses the defaults.

    Raises:
        InputError: An argument breaks the contract above, or a group is empty; the message says what to do.
        AccessError: An attack is needed and the classifier grants no gradients.
    """
    config = config or GroupsConfig()
    check_images(x, classifier.preprocess.channels if classifier.preprocess else None)
    check_labels(y, len(x))
    bad = bad_rows(x).nonzero().flatten()
    if len(bad):
        raise InputError(f"pixels of image {int(bad[0])} are not finite or outside [0, 1]")
    keys = row_keys(config.seed, len(x)) if keys is None else keys
    check_keys(keys, len(x))
    classifier.require(Access.GRADIENTS if "adv_mis" in config.groups else Access.SCORES, "making groups")
    maker = _Maker(classifier, x.detach(), y.cpu(), keys.cpu(), config)
    with classifier:
        return maker.run()


class _Maker:
    """Maker of the groups of one set of images."""

    def __init__(self, classifier: Classifier, x: Tensor, y: Tensor, keys: Tensor, config: GroupsConfig) -> None:
        self.classifier, self.x, self.y, self.keys, self.config = classifier, x, y, keys, config
        self.counts = classifier.forwards, classifier.backwards
        self.logits = self.ask(x)
        check_classes(self.logits.shape[1])
        check_labels(y, len(x), self.logits.shape[1])
        self.usable = self.logits.isfinite().all(1)
        self.right = ((self.logits.argmax(1) == y) & self.usable).nonzero().flatten()
        self.log_odds = self.true_log_odds(self.logits, y)

    def ask(self, x: Tensor) -> Tensor:
        """Compute logits on the CPU.

        Rows without finite logits are NaN.
        """
        return self.classifier.logits_or_faults(x)[0].cpu()

    @staticmethod
    def true_log_odds(logits: Tensor, y: Tensor) -> Tensor:
        """Compute the log-odds of the true class, (B,) float64."""
        return class_values(logits, y, y, (ValueFunction(of="true"),))[:, 0]

    def run(self) -> Groups:
        """Make all requested groups."""
        wanted, most = self.config.groups, self.config.per_group
        found: dict[str, Group] = {}
        if "correct" in wanted:
            found["correct"] = self.as_they_came("correct", self.right[:most])
        if "clean_mis" in wanted:
            wrong = ((self.logits.argmax(1) != self.y) & self.usable).nonzero().flatten()
            found["clean_mis"] = self.as_they_came("clean_mis", wrong[:most])
        if "corrupt_mis" in wanted or "control" in wanted:
            found |= {name: group for name, group in self.corrupted().items() if name in wanted}
        if "adv_mis" in wanted:
            matched = self.config.matched_drop
            tried = found["corrupt_mis"].rows if isinstance(matched, str) else self.right
            drop = found["corrupt_mis"].drop if isinstance(matched, str) else torch.full((len(tried),), matched or 0.0)
            found["adv_mis"] = self.attacked(tried, drop)
        notes: list[str] = []
        for name in wanted:
            if not len(found[name]):
                text = f"group {name} is empty ({len(self.right)} images are right): {REMEDY[name]}"
                if not self.config.skip_empty:
                    raise InputError(text)
                notes.append(text)
                del found[name]
            elif len(found[name]) < min(FEWEST, most):
                notes.append(f"group {name} has {len(found[name])} images; below {FEWEST} its intervals say little")
        if most < FEWEST:
            notes.append(f"groups hold at most {most} images; below {FEWEST} their intervals say little")
        for note in notes:
            warnings.warn(note, stacklevel=4)
        forwards, backwards = self.classifier.forwards - self.counts[0], self.classifier.backwards - self.counts[1]
        ordered = {name: found[name] for name in GROUPS if name in found}
        return Groups(ordered, self.x, _sentence(ordered, self.config), tuple(notes), forwards, backwards)

    def as_they_came(self, name: str, rows: Tensor) -> Group:
        """Build a group of unchanged images."""
        return self.group(name, rows, self.x[rows.to(self.x.device)], self.logits[rows], [""] * len(rows))

    def group(self, name: str, rows: Tensor, x: Tensor, logits: Tensor, made_by: Sequence[str]) -> Group:
        """Build a group from its images and their logits."""
        y, predicted = self.y[rows], logits.argmax(1)
        target = torch.where(predicted == y, best_other(logits, y), predicted) if len(rows) else y
        log_odds = self.true_log_odds(logits, y)
        fallen = self.log_odds[rows] - log_odds
        return Group(name, x, rows, self.keys[rows], y, target, log_odds, fallen, tuple(made_by))

    def attacked(self, right: Tensor, drop: Tensor) -> Group:
        """Attack the correct images ``right`` (N,) and collect the misclassified ones.

        The first ones are kept. If strengths are matched, the log-odds of each must drop by ``drop`` (N,).
        """
        rows: list[Tensor] = []
        images: list[Tensor] = []
        logits: list[Tensor] = []
        for tried, drops in zip(right.split(_CHUNK), drop.split(_CHUNK), strict=True):
            place = tried.to(self.x.device)
            result = pgd(
                self.classifier,
                self.x[place],
                self.y[tried].to(self.x.device),
                keys=self.keys[tried].to(self.x.device),
                config=self.config.attack,
            )
            x, z = result.x_adv, result.logits.cpu()
            fits = torch.ones(len(tried), dtype=torch.bool)
            if self.config.matched_drop is not None:
                x, z, fits = self.weakened(tried, x, drops)
            kept = ((z.argmax(1) != self.y[tried]) & z.isfinite().all(1) & fits).nonzero().flatten()
            rows.append(tried[kept])
            images.append(x[kept.to(x.device)])
            logits.append(z[kept])
            if sum(map(len, rows)) >= self.config.per_group:
                break
        if not len(right):
            return self.as_they_came("adv_mis", right)  # empty
        taken, x, z = (torch.cat(part)[: self.config.per_group] for part in (rows, images, logits))
        return self.group("adv_mis", taken, x, z, ["pgd"] * len(taken))

    def weakened(self, rows: Tensor, attacked: Tensor, drop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shorten changes until the log-odds of the true class drop by ``drop`` (B,).

        Returns:
            Images, logits, and whether the log-odds drop that far at all.
        """
        x, y = self.x[rows.to(self.x.device)], self.y[rows]
        change = attacked - x
        low, high = torch.zeros(len(rows)), torch.ones(len(rows))

        def at(share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            image = x + share.to(x).view(-1, 1, 1, 1) * change
            logits = self.ask(image)
            return image, logits, self.log_odds[rows] - self.true_log_odds(logits, y)

        reaches = at(high)[2] >= drop
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            beyond = at(middle)[2] >= drop
            high, low = torch.where(beyond, middle, high), torch.where(beyond, low, middle)
        image, logits, _ = at(high)
        return image, logits, reaches

    def corrupted(self) -> dict[str, Group]:
        """Corrupt correct images.

        Returns those that are then misclassified, and those that stay correct.
        """
        config, most = self.config, self.config.per_group
        levels = SEVERITIES if config.severity is None else (config.severity,)
        options = [(kind, level) for kind in config.kinds for level in levels]
        taken = dict.fromkeys(config.kinds, 0)
        errors: list[tuple[int, int]] = []  # image, option
        stays: list[tuple[int, Tensor]] = []  # image, (options,) bool
        for tried in self.right.split(_CHUNK):
            wrong, right, drop = self.under(tried, options)
            choice = _choose(wrong.unflatten(1, (len(config.kinds), -1)), drop, config)  # (B, kinds), -1 for none
            for row, image in enumerate(tried.tolist()):
                stays.append((image, right[row]))
                open_to = [number for number in range(len(config.kinds)) if choice[row, number] >= 0]
                if open_to and len(errors) < most:
                    kind = min(open_to, key=lambda number: taken[config.kinds[number]])
                    taken[config.kinds[kind]] += 1
                    errors.append((image, kind * len(levels) + int(choice[row, kind])))
            if len(errors) >= most and len(stays) >= 2 * most:
                break
        control = _controls(errors, stays)
        return {
            "corrupt_mis": self.with_corruption("corrupt_mis", errors, options),
            "control": self.with_corruption("control", control, options),
        }

    def under(self, rows: Tensor, options: Sequence[tuple[str, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Classify images under each option.

        Returns whether they are misclassified, whether they are correct, and the drop of the log-odds, (B, options)
        each. An image without finite logits is neither.
        """
        x, keys = self.x[rows.to(self.x.device)], self.keys[rows].to(self.x.device)
        asked = [self.ask(corrupt(x, kind, level, keys=keys)) for kind, level in options]
        finite = torch.stack([logits.isfinite().all(1) for logits in asked], 1)
        right = torch.stack([logits.argmax(1) == self.y[rows] for logits in asked], 1)
        drop = torch.stack([self.log_odds[rows] - self.true_log_odds(logits, self.y[rows]) for logits in asked], 1)
        return ~right & finite, right & finite, drop

    def with_corruption(self, name: str, chosen: list[tuple[int, int]], options: Sequence[tuple[str, int]]) -> Group:
        """Rebuild a group of corrupted images from their keys."""
        chosen = sorted(chosen)
        rows = torch.tensor([image for image, _ in chosen], dtype=torch.int64)
        option = torch.tensor([number for _, number in chosen], dtype=torch.int64)
        x = self.x[rows.to(self.x.device)].clone()
        for number in option.unique().tolist():
            mine = (option == number).nonzero().flatten()
            kind, level = options[number]
            place = mine.to(x.device)
            x[place] = corrupt(x[place], kind, level, keys=self.keys[rows[mine]].to(x.device))
        logits = self.ask(x) if len(rows) else self.logits[:0]
        return self.group(name, rows, x, logits, ["{} {}".format(*options[number]) for number in option.tolist()])


def _choose(wrong: Tensor, drop: Tensor, config: GroupsConfig) -> Tensor:
    """Choose the severity of each kind after which an image is misclassified.

    Returns (B, kinds) int64 at the required strength, -1 if there is none.
    """
    if config.matched_drop is None or isinstance(config.matched_drop, str):
        distance = torch.arange(wrong.shape[2], dtype=torch.float64).expand(wrong.shape)
        limit = torch.inf
    else:
        distance = (drop.view(wrong.shape) - config.matched_drop).abs()
        limit = config.drop_tolerance * config.matched_drop
    distance = torch.where(wrong & (distance <= limit), distance, torch.inf)
    nearest = distance.min(2)
    return torch.where(nearest.values.isfinite(), nearest.indices, -1)


def _controls(errors: list[tuple[int, int]], stays: list[tuple[int, Tensor]]) -> list[tuple[int, int]]:
    """Choose for each error another image that the same corruption leaves correct.

    Each image is used once, in order.
    """
    used: set[int] = set()
    found: list[tuple[int, int]] = []
    for _, option in errors:
        image = next((image for image, right in stays if right[option] and image not in used), None)
        if image is not None:
            used.add(image)
            found.append((image, option))
    return found


def _sentence(groups: dict[str, Group], config: GroupsConfig) -> str:
    """Describe the changes of the images, and the drop of the true class."""
    parts: list[str] = []

    def fell(name: str) -> str:
        return f"log-odds of the true class down by {float(groups[name].drop.median()):.3g} nats (median)"

    if "adv_mis" in groups:
        start = ", random start" if config.random_start else ""
        steps = f"{config.steps} steps of {255 * config.step_size:.3g}/255"
        parts.append(f"adv_mis: linf PGD, eps {255 * config.eps:.3g}/255, {steps}{start}, {fell('adv_mis')}")
    if "corrupt_mis" in groups:
        how = "smallest severity that makes it wrong" if config.severity is None else f"severity {config.severity}"
        if isinstance(config.matched_drop, float):
            how = "severity nearest to the fall asked for"
        parts.append(f"corrupt_mis: {' or '.join(config.kinds)}, {how}, {fell('corrupt_mis')}")
    if "control" in groups:
        parts.append(f"control: the same corruptions on images that stay right, {fell('control')}")
    if isinstance(config.matched_drop, str):
        parts.append("the attack is weakened until it is as strong as the corruption of the same image")
    elif config.matched_drop is not None and parts:
        parts.append(f"strengths matched at {config.matched_drop:g} nats")
    return "; ".join(parts)
