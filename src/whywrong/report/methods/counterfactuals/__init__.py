"""Report of counterfactuals, which are changes into a class, with a verdict on their trust."""

from whywrong.report.methods.base import MethodReport
from whywrong.report.methods.counterfactuals.figure import draw_counterfactuals
from whywrong.report.methods.counterfactuals.overview import FACET, overview
from whywrong.report.methods.counterfactuals.section import section

COUNTERFACTUALS = MethodReport(
    method="counterfactuals",
    order=60,
    section=section,
    rows_per_error="several",
    figure=draw_counterfactuals,
    overview=overview,
    facets=(FACET,),
    explained="status = 'ok'",
    nouns=("search for counterfactuals", "searches for counterfactuals"),
    papers=(
        "Sparse counterfactuals: V. Boreiko, M. Augustin, F. Croce, P. Berens, M. Hein, “Sparse Visual Counterfactual"
        " Explanations in Image Space”, GCPR 2022, LNCS 13485, arXiv:2205.07972. The trust verdict is ours.",
    ),
    limits=(
        "A counterfactual shows which change alters the prediction of this model. Only a trusted change shows"
        " something that a person would recognise as the class.",
    ),
    glossary=(
        ("counterfactual", "the image changed, within a bound, until the model predicts a chosen class"),
        ("semantic", "the change is stable, and classifiers that were not used in the search see it as well"),
        ("adversarial", "only this model reacts to the change"),
    ),
)
