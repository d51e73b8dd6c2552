"""Report of patch groups, small sets of patches that are enough for a prediction or change it."""

from whywrong.report.methods.base import MethodReport
from whywrong.report.methods.patch_groups import overview
from whywrong.report.methods.patch_groups.figure import draw_patch_groups
from whywrong.report.methods.patch_groups.section import section

PATCH_GROUPS = MethodReport(
    method="patch_groups",
    order=40,
    section=section,
    figure=draw_patch_groups,
    summarize=overview.summarize,
    lead=overview.lead,
    overview=overview.overview,
    facets=(overview.FACET,),
    badge=overview.badge,
    explained="status = 'ok'",
    nouns=("search for patch groups", "searches for patch groups"),
    papers=(
        "Patch groups (MoXI): K. Sumiyasu, K. Kawamoto, H. Kera, “Identifying Important Group of Pixels using"
        " Interactions”, CVPR 2024, arXiv:2401.03785. The stop at the flip is ours.",
    ),
    limits=(
        "Patch groups come from a greedy search, so smaller groups may exist. An image with only a few patches is"
        " unlike the training images of the model.",
    ),
    glossary=(("enough", "patches that give the prediction of the whole image if all other patches are hidden"),),
)
