"""The model loaders that ship with the package, one line each."""

from __future__ import annotations

from whywrong.core.registry import Loader

LOADERS: tuple[Loader, ...] = (
    Loader(
        name="planted",
        form="planted:NAME",
        function="whywrong.models.loading.planted:load_planted",
        schemes=("planted",),
    ),
    Loader(
        name="timm",
        form="timm:NAME",
        function="whywrong.models.loading.timm_nets:load_timm",
        schemes=("timm",),
    ),
    Loader(
        name="torchvision",
        form="torchvision:NAME",
        function="whywrong.models.loading.torchvision_nets:load_torchvision",
        schemes=("torchvision",),
    ),
    Loader(
        name="transformers",
        form="hf:FOLDER",
        function="whywrong.models.loading.hugging_face:load_hugging_face",
        schemes=("hf",),
    ),
    Loader(
        name="python",
        form="FILE.py:FUNCTION",
        function="whywrong.models.loading.user_file:load_user_file",
        suffixes=(".py",),
    ),
    Loader(
        name="onnx",
        form="FILE.onnx",
        function="whywrong.models.loading.onnx:load_onnx",
        suffixes=(".onnx",),
    ),
    Loader(
        name="endpoint",
        form="FILE.toml",
        function="whywrong.models.loading.endpoint:load_endpoint",
        schemes=("https",),
        suffixes=(".toml",),
    ),
    Loader(
        name="surrogate",
        form="surrogate:FILE",
        function="whywrong.models.loading.own_files:load_surrogate",
        schemes=("surrogate",),
    ),
    Loader(
        name="trained",
        form="trained:DIR",
        function="whywrong.models.loading.own_files:load_trained",
        schemes=("trained",),
    ),
    Loader(
        name="program",
        form="FILE.pt2",
        function="whywrong.models.loading.programs:load_program",
        suffixes=(".pt2", ".pt", ".ts", ".torchscript"),
    ),
)
