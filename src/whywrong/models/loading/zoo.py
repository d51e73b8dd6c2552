"""Load a classifier by the name of its model, and rebuild it in a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from whywrong.core.access import Access
from whywrong.core.class_names import read_class_names
from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError, ModelError
from whywrong.core.input_spec import InputSpec
from whywrong.core.registry import Loader, find_by_scheme, lines, resolve
from whywrong.models.batch_size import WITHOUT_PROBE, plan_batch_size
from whywrong.models.class_files import SORTED, read_class_file
from whywrong.models.classifier import Classifier
from whywrong.models.devices import choose_device
from whywrong.models.identity import fingerprint
from whywrong.models.loading.attributes import settle_normalisation
from whywrong.models.loading.libraries import LIBRARY_WEIGHTS, refuse_weights
from whywrong.models.loading.loaded import SPEC_FIELDS, Loaded, ModelRequest
from whywrong.models.loading.objects import is_model_object, load_object
from whywrong.models.loading.one_score import settle_output

WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")

Classes = ClassList | Sequence[Any] | Mapping[Any, Any] | str | Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRecipe:
    """Everything needed to rebuild a classifier in another process.

    It is plain data, picklable, with absolute paths.

    Attributes:
        model, weights, weights_key, device, precision, classes, input_size, resize, interpolation, mean, std: As
            :func:`load_classifier` takes them.
        access, output, batch_size: As :func:`load_classifier` takes them.
        identity: Expected identity of the rebuilt classifier; None accepts any.
    """

    model: str
    weights: str | None = None
    weights_key: str | None = None
    device: str | None = None
    precision: str | None = None
    classes: ClassList | Literal["sorted"] | None = None
    input_size: tuple[int, ...] | None = None
    resize: int | None = None
    interpolation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    access: Access | None = None
    output: str | None = None
    batch_size: int | None = None
    identity: str | None = None

    def on(self, device: str) -> ClassifierRecipe:
        """Return the recipe for another device."""
        return replace(self, device=device)

    def build(self) -> Classifier:
        """Build the classifier.

        Raises:
            ModelError: A file of the model has changed since the recipe was made.
        """
        options = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "identity"}
        classifier = load_classifier(options.pop("model"), **options)
        if self.identity is not None and classifier.identity != self.identity:
            raise ModelError(
                f"{self.model} has changed since the run began: identity {classifier.identity[:12]} instead of "
                f"{self.identity[:12]}"
            )
        return classifier


def load_classifier(
    model: str | Path | nn.Module,
    *,
    weights: str | Path | None = None,
    weights_key: str | None = None,
    device: str | torch.device | None = None,
    precision: str | None = None,
    classes: Classes | None = None,
    input_size: Sequence[int] | None = None,
    resize: int | None = None,
    interpolation: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    access: Access | str | None = None,
    output: str | None = None,
    batch_size: int | None = None,
    preprocess: Any = None,
) -> Classifier:
    """Load a classifier with its preprocessing and classes.

    Args:
        model: ``planted:NAME`` for a network that ships with the package, ``timm:NAME``, ``torchvision:NAME`` or
            ``torchvision:NAME.TRAINING``, ``file.py:function`` or a ``.onnx`` file; or a module of any library, or an
            image-classification pipeline of transformers, which is used in place.
        weights: Safetensors or state-dict file; for timm and torchvision also ``pretrained``, which lets the library
            download its own, or ``random``. Nothing is downloaded unless requested.
        weights_key: Set of weights to load if the file holds several, such as ``state_dict_ema``; the message that
            requests it lists them.
        device: Device of the model; default the first GPU, otherwise the CPU.
        precision: On a GPU, ``exact`` (the default) computes in float32 as a CPU does; ``fast`` allows TF32.
        classes: Names in the order of the logits in any form that :func:`whywrong.core.class_names.read_class_names`
            takes, or the path of a ``.txt``, ``.json`` or ``.csv`` file; ``"sorted"`` takes the sorted labels of the
            data, the order of torchvision's ``ImageFolder``. Default the model's own.
        input_size: (C, H, W); default the model's own, as for the next four arguments.
        resize: Shorter side before the centre crop, in pixels; 0 stretches the image without a crop.
        interpolation: nearest, bilinear, bicubic, lanczos, box or hamming.
        mean: Mean per channel of values in [0, 1]; () disables the model's own normalisation, including its std.
        std: Standard deviation per channel.
        access: Highest level to use, such as ``scores``; default what the model can grant.
        output: How answers are read, see :class:`Classifier`; default ``logits``, or ``binary-probability`` if the
            model provably ends in one sigmoid.
        batch_size: Images per pass; default chosen by a memory probe.
        preprocess: For a module, its image processor, transform or torchvision weights.

    Raises:
        InputError: The model is given in another form, or something that it does not state is missing.
        ModelError: The model cannot be loaded.

    Example:
        >>> import whywrong as ww
        >>> ww.load_classifier("planted:cnn").num_classes
        12
    """
    classes = _classes(classes)
    access = _access(access) if isinstance(access, str) else access
    size = tuple(input_size) if input_size else None
    given = {"input_size": size, "resize": resize, "interpolation": interpolation, "mean": mean, "std": std}
    if not isinstance(model, (str, Path)):
        if not is_model_object(model):
            raise InputError(
                "a model is a module, or named by text, as timm:resnet50 or file.py:function; got "
                f"{type(model).__name__}: wrap another callable with whywrong.Classifier"
            )
        if weights is not None or weights_key is not None:
            raise InputError("weights goes with a model that is named; put them into the module before")
        options = {"access": access, "output": output, "device": device, "precision": precision}
        return load_object(model, preprocess=preprocess, given=given, classes=classes, batch_size=batch_size, **options)
    if preprocess is not None:
        raise InputError("preprocess goes with a module; for a model by name pass input_size, resize, mean and std")
    model, weights = str(model), None if weights is None else str(weights)
    target = choose_device(device)  # before anything is read
    if weights is not None and weights not in LIBRARY_WEIGHTS:
        weights = str(Path(weights).resolve())
    elif weights_key is not None:
        raise InputError(f'weights_key "{weights_key}" names a part of a file with weights; pass that file as weights')
    count = len(classes) if isinstance(classes, ClassList) else None
    loaded = _load(ModelRequest(name=model, weights=weights, weights_key=weights_key, classes=count, given=given))
    model = loaded.name or model
    spec, notes = _spec(given, loaded, model), [*loaded.notes]
    if loaded.by_attributes and mean is None and std is None:
        spec, more = settle_normalisation(loaded.model, spec)
        notes += more
    output, more = settle_output(loaded.model, output or loaded.output, spec)
    notes += more
    target = _place(loaded.model, model, device, target)
    classifier = Classifier(
        loaded.model,
        classes=classes or loaded.classes,
        preprocess=spec,
        access=access,
        output=output,
        device=target,
        precision=precision or "exact",
        batch_size=batch_size or WITHOUT_PROBE,
        identity=fingerprint(loaded.model, spec, output, loaded.sources),
    )
    classifier.notes = tuple(notes)
    classifier.recipe = ClassifierRecipe(
        model=model,
        weights=weights,
        weights_key=weights_key,
        device=None if device is None else str(device),
        precision=precision,
        classes=classes,
        input_size=None if input_size is None else tuple(input_size),
        resize=resize,
        interpolation=interpolation,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        access=access,
        output=output,
        batch_size=batch_size,
        identity=classifier.identity,
    )
    if batch_size is None:
        grey = torch.full((1, spec.channels, spec.height, spec.width), 0.5)
        classifier.batch_size = plan_batch_size(classifier, grey)
    return classifier


def _load(request: ModelRequest) -> Loaded:
    """Load a model with the loader for its scheme or its file's suffix.

    Raises:
        InputError: No loader fits; the message lists how models are named.
    """
    text, known = request.name, lines(Loader).values()
    forms = ", ".join(line.form for line in known)
    files = {text.lower(), text.rpartition(":")[0].lower()}  # a name inside the file may follow: nets.py:build
    by_ending = next(((line, text) for line in known if any(file.endswith(line.suffixes) for file in files)), None)
    try:
        found = find_by_scheme(text, known) or by_ending
    except InputError as error:
        if by_ending is None:
            raise InputError(f"{error}; a model is named as {forms}") from None
        found = by_ending  # the colon belongs to the path
    if found is not None:
        loader, name = found
        return resolve(loader.function)(replace(request, name=name))
    if text.endswith(WEIGHT_FILES):
        raise refuse_weights(Path(text))
    raise InputError(f'"{text}" is not a model; it must be named as {forms}')


def _spec(given: Mapping[str, Any], loaded: Loaded, model: str) -> InputSpec:
    said = {name: given[name] if given[name] is not None else loaded.says.get(name) for name in SPEC_FIELDS}
    if given["mean"] is not None and not len(given["mean"]) and given["std"] is None:
        said["std"] = None  # disabled together
    size = said.pop("input_size")
    if size is None:
        raise InputError(f"{model} does not say its input size: {loaded.ask}")
    try:
        channels, height, width = map(int, size)
    except (TypeError, ValueError):
        raise InputError(f"input size must be (C, H, W), got {size}") from None
    return InputSpec(
        channels=channels,
        height=height,
        width=width,
        resize=int(said["resize"]) if said["resize"] else None,
        interpolation=said["interpolation"] or "bilinear",
        mean=tuple(map(float, said["mean"])) if said["mean"] is not None and len(said["mean"]) else None,
        std=tuple(map(float, said["std"])) if said["std"] is not None and len(said["std"]) else None,
    )


def _classes(classes: Classes | None) -> ClassList | Literal["sorted"] | None:
    """Return the given classes; text is a file name or requests the sorted labels of the data."""
    if classes is None:
        return None
    if isinstance(classes, (str, Path)):
        return SORTED if classes == SORTED else read_class_file(Path(classes))
    return read_class_names(classes)


def _access(name: str) -> Access:
    try:
        return Access[name.upper()]
    except KeyError:
        raise InputError(f'access must be {", ".join(a.name.lower() for a in Access)}, got "{name}"') from None


def _place(model: Any, name: str, said: str | torch.device | None, device: torch.device) -> torch.device:
    """Move a module to its device and return the device.

    Other callables are not moved and use the CPU unless a device is given.
    """
    if not isinstance(model, nn.Module):
        if name.endswith(".onnx") and said is not None and device.type != "cpu":
            raise InputError(f"{Path(name).name}: ONNX models run on the CPU; leave --device out")
        return torch.device("cpu") if said is None else device
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"the model cannot be put on {device}: {error}") from error
    return device
