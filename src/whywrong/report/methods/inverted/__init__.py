"""Report of the inverted attack, the smallest change after which an image is correctly classified."""

from whywrong.report.methods.base import MethodReport
from whywrong.report.methods.inverted import overview
from whywrong.report.methods.inverted.figure import draw_inverted
from whywrong.report.methods.inverted.section import section

INVERTED = MethodReport(
    method="inverted",
    order=10,
    section=section,
    figure=draw_inverted,
    explained="detailed",
    answered=("ok", "skipped", "no_answer", "already_correct"),
    summarize=overview.summarize,
    lead=overview.lead,
    statistic=overview.statistic,
    overview=overview.overview,
    measure=overview.MEASURE,
    cause_column=overview.CAUSE_COLUMN,
    papers=(
        "Inverted attack: R. Haffar, N. Jebreel, J. Domingo-Ferrer, D. Sánchez, “Explaining Image Misclassification in"
        " Deep Learning via Adversarial Examples”, MDAI 2021, LNAI 12898, pp. 323–334,"
        " doi:10.1007/978-3-030-85529-1_26. The Newton step and the region change are ours.",
    ),
    limits=(
        "The place of the smallest change shows where the model is sensitive, for any class; it says nothing about the"
        " cause of an error.",
    ),
    glossary=(
        ("smallest change", "the least change found after which the classifier predicts the labelled class"),
        ("8-bit change", "one in whole grey levels, tested again"),
        ("region change", "a change confined to few superpixels"),
        ("lift", "a share of the map divided by the share of the area; 1 is chance"),
    ),
)
