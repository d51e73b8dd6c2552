"""Report of interaction profiles, which show how strongly patches interact."""

from whywrong.report.methods.base import MethodReport
from whywrong.report.methods.profiles.figure import draw_profiles
from whywrong.report.methods.profiles.overview import overview
from whywrong.report.methods.profiles.section import section

PROFILES = MethodReport(
    method="profiles",
    order=50,
    section=section,
    rows_per_error="several",
    figure=draw_profiles,
    overview=overview,
    explained="status = 'ok'",
    nouns=("interaction profile",),
    papers=(
        "Multi-order interactions of misclassified images: Y. Sumiyasu et al., “Game-Theoretic Understanding of"
        " Misclassification”, 2022, arXiv:2210.03349.",
        "Strength of interactions by order: H. Deng et al., “Discovering and Explaining the Representation"
        " Bottleneck of DNNs”, ICLR 2022, arXiv:2111.06236. The unbiased square, its interval and the noise share are"
        " ours.",
    ),
    limits=(
        "An interaction profile shows how strongly neighbouring patches work together for one class and one value"
        " function; for others it may differ. By itself it does not show a cause.",
    ),
    glossary=(
        ("log-odds", "logit of a class minus the log-sum-exp of all other logits; 0 is a probability of one half"),
        (
            "interaction",
            "effect of two patches together on the log-odds, beyond the sum of their single effects",
        ),
        ("strength", "root mean square of the interactions, without the share of sampling noise"),
    ),
)
