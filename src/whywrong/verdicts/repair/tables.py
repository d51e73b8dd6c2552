"""Tables of the analysis ``repair``, with the type and the meaning of every column."""

from __future__ import annotations

import pyarrow as pa

from whywrong.verdicts.tables import VerdictTable

ARMS_TABLE = VerdictTable(
    "repair",
    (
        ("arm", pa.string(), "What a copy of the model was trained on, beside correct images."),
        ("words", pa.string(), "The same in words."),
        ("control", pa.bool_(), "Whether it is a control, which learns nothing from the errors."),
        ("chosen", pa.bool_(), "Whether its weights were written."),
        ("safe", pa.bool_(), "Whether the gain is above 0, losses are at most half of it, and no class pays for it."),
        ("reason", pa.string(), "Why it was not trained; null if it was."),
        ("trained_errors", pa.int64(), "Errors that it was trained on."),
        ("share", pa.float64(), "How far the weights moved towards the trained ones, chosen on other images."),
        ("images", pa.int64(), "Held-out images."),
        ("errors", pa.int64(), "Errors among them before."),
        ("fixed", pa.int64(), "Those that are predicted as their label now."),
        ("fixed_low", pa.float64(), "Lower end of the 95 % interval of their share."),
        ("fixed_high", pa.float64(), "Upper end."),
        ("lost", pa.int64(), "Images that were right and are wrong now (negative flips)."),
        ("accuracy_before", pa.float64(), "Accuracy on the held-out images."),
        ("accuracy_after", pa.float64(), "The same after the repair."),
        ("gain_low", pa.float64(), "Lower end of the 95 % interval of the change."),
        ("gain_high", pa.float64(), "Upper end."),
        ("p", pa.float64(), "Two-sided exact McNemar test of the change."),
        ("worst_class", pa.int64(), "Class whose accuracy falls most; null if none falls."),
        ("worst_change", pa.float64(), "Change of its accuracy."),
        ("forwards", pa.int64(), "Forward passes of the model and its copy."),
        ("backwards", pa.int64(), "Backward passes."),
    ),
)

WORK_TABLE = VerdictTable(
    "work",
    (
        ("work", pa.string(), "List: `relabel`, `remove`, `background`, `hidden`, `damaged`, `boundary` and others."),
        ("item_id", pa.string(), "Item of the run."),
        ("key", pa.string(), "Its name in the data."),
        ("label", pa.string(), "Its label."),
        ("predicted", pa.string(), "Class that it is predicted as."),
        ("suggested", pa.string(), "Suggested label; null unless the label is in doubt."),
        ("suspicion", pa.float64(), "Log of the probability of the prediction through that of the label."),
        ("stated", pa.bool_(), "Whether a test supports the cause."),
        ("evidence", pa.string(), "Why it is on the list."),
        ("action", pa.string(), "What to do."),
    ),
)

CLASSES_TABLE = VerdictTable(
    "repair_classes",
    (
        ("arm", pa.string(), "The arm."),
        ("class", pa.int64(), "Class of the label."),
        ("images", pa.int64(), "Held-out images of the class."),
        ("accuracy_before", pa.float64(), "Accuracy on them."),
        ("accuracy_after", pa.float64(), "The same after the repair."),
        ("fixed", pa.int64(), "Errors that are right now."),
        ("lost", pa.int64(), "Right answers that are wrong now."),
    ),
)

LISTS_TABLE = VerdictTable(
    "repair_lists",
    (
        ("arm", pa.string(), "The arm."),
        ("work", pa.string(), "List of work."),
        ("errors", pa.int64(), "Held-out errors on it."),
        ("fixed", pa.int64(), "Those that the arm corrects."),
    ),
)

TABLES = (ARMS_TABLE, WORK_TABLE, CLASSES_TABLE, LISTS_TABLE)
