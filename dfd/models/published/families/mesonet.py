"""MesoNet: two small networks for the traces of Deepfakes and Face2Face (WIFS 2018), published in Keras' format."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from dfd.models.networks.systems.mesonet import NUM_FEATURES, SIDE
from dfd.models.published.entry import Figure, Published, PublishedFile
from dfd.models.published.naming import Source, from_names, negated

_TRUNK = "backbone.network."
_MAP_SIDE = SIDE // 32
_STATISTICS = {
    **{"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"},
    **{"num_batches_tracked": "counter"},
}
# Keras numbers layers of a kind as they were made: the branches of an inception block one after the other.
_IN_INCEPTION = ("0.0", "1.0", "1.2", "2.0", "2.2", "3.0", "3.2")
_CONVOLUTIONS = {
    "meso4": [f"stages.{stage}.0" for stage in (0, 2, 4, 6)],
    "mesoinception4": [
        *(f"stages.{stage}.branches.{place}" for stage in (0, 3) for place in _IN_INCEPTION),
        *("stages.6.0", "stages.8.0"),
    ],
}
_NORMALISATIONS = {
    "meso4": [f"stages.{stage}.2" for stage in (0, 2, 4, 6)],
    "mesoinception4": ["stages.1", "stages.4", "stages.6.2", "stages.8.2"],
}


def by_order(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Count the layers of each kind from 0: the numbers in a file depend on what Keras had built before.

    >>> import torch
    >>> list(by_order({"conv2d_10/bias": torch.zeros(1), "conv2d_9/bias": torch.zeros(1)}))
    ['conv2d[1]/bias', 'conv2d[0]/bias']
    """
    layers = {name: re.fullmatch(r"(\w+?)_(\d+)/(\w+)", name) for name in tensors}
    numbers: dict[str, set[int]] = defaultdict(set)
    for found in layers.values():
        if found:
            numbers[found[1]].add(int(found[2]))
    places = {kind: {number: place for place, number in enumerate(sorted(set_))} for kind, set_ in numbers.items()}
    return {
        f"{found[1]}[{places[found[1]][int(found[2])]}]/{found[3]}" if (found := layers[name]) else name: tensor
        for name, tensor in tensors.items()
    }


def _published(network: str, name: str) -> Source:
    layer, _, kind = name.rpartition(".")
    if layer == "classify":  # Keras' network gives the probability of real
        return Source((f"dense[1]/{_kernel(kind)}",), lambda tensor: negated(tensor.T if tensor.ndim > 1 else tensor))
    layer = layer.removeprefix(_TRUNK)
    if layer == "dense.2":
        return Source((f"dense[0]/{_kernel(kind)}",), _by_channels if kind == "weight" else lambda bias: bias)
    if layer in _NORMALISATIONS[network]:
        number = _NORMALISATIONS[network].index(layer)
        return Source((f"batch_normalization[{number}]/{_STATISTICS[kind]}",))
    number = _CONVOLUTIONS[network].index(layer)
    return Source(
        (f"conv2d[{number}]/{_kernel(kind)}",), _kernel_as_in_torch if kind == "weight" else lambda bias: bias
    )


def _kernel(kind: str) -> str:
    return "kernel" if kind == "weight" else kind


def _kernel_as_in_torch(kernel_HWIO: Tensor) -> Tensor:
    return kernel_HWIO.permute(3, 2, 0, 1)


def _by_channels(kernel_NF: Tensor) -> Tensor:
    """Reorder the weights of a layer on a flat map: Keras' is flattened by places first, torch's by channels."""
    kernel_HWCF = kernel_NF.reshape(_MAP_SIDE, _MAP_SIDE, -1, NUM_FEATURES)
    return kernel_HWCF.permute(3, 2, 0, 1).flatten(1)


def _recogniser(network: str) -> Callable[[Mapping[str, Tensor]], bool]:
    kernels = {f"conv2d[{number}]/kernel" for number in range(len(_CONVOLUTIONS[network]))}
    return lambda tensors: kernels == {name for name in tensors if re.fullmatch(r"conv2d\[\d+\]/kernel", name)}


def _entry(network: str, title: str, manipulation: str, file: str, sha256: str, size_bytes: int) -> Published:
    method = {"df": "Deepfakes", "f2f": "Face2Face"}[manipulation]
    figures = tuple(
        Figure(data, "frame AUC", value, "DeepfakeBench, which trained it anew on FaceForensics++ c23")
        for data, value in (
            *(("FaceForensics++ c23", 0.608), ("Celeb-DF v2", 0.609), ("DFD", 0.548)),
            *(("DFDC", 0.556), ("DFDCP", 0.599)),
        )
    )
    return Published(
        name=f"mesonet-{network.removesuffix('4') if 'inception' in network else network}-{manipulation}",
        title=f"MesoNet's {title} for {method} (Afchar, Nozick, Yamagishi and Echizen, WIFS 2018)",
        home="https://github.com/DariusAf/MesoNet",
        files=(
            PublishedFile(
                name=file,
                url=f"https://github.com/DariusAf/MesoNet/raw/master/weights/{file}",
                size_bytes=size_bytes,
                sha256=sha256,
            ),
        ),
        licence_code="Apache-2.0",
        licence_weights="Apache-2.0 (that of the repository)",
        training_data=(
            "videos of the web collected by the authors (Deepfakes)"
            if manipulation == "df"
            else "FaceForensics (Face2Face), whose terms allow research only"
        ),
        citation="Afchar, Nozick, Yamagishi, Echizen: MesoNet, WIFS 2018, arXiv 1809.00888",
        figures=figures if network == "meso4" else (),
        verified=(
            "The published weights give the published network's probabilities on the repository's four pictures and on "
            "constant ones. The authors' crop, which they measure between eyes and mouth, is approximated by a square "
            "around the face box."
        ),
        seconds_per_crop={"meso4": 0.005, "mesoinception4": 0.014}[network],
        # The authors cut an upright square of 2.86 times the larger of the distances between the eyes and from eyes to
        # mouth; a face box is some 2.75 distances between the eyes wide.
        input={"kind": "square", "size": SIDE, "margin_fraction": 0.02},
        aggregation="share",
        label_order=("fake", "real"),
        model={
            "backbone": {"_target_": f"dfd.models.backbones.{network}", "resample": "nearest"},
            "temporal": {"_target_": "dfd.models.temporal.mean"},
            "head": {"_target_": "dfd.models.heads.linear", "outputs": 1},
            "dropout": 0.5,
        },
        recipe=from_names(partial(_published, network)),
        recognises=_recogniser(network),
        simplify=by_order,
    )


MESONET = (
    _entry(
        *("meso4", "Meso4", "df", "Meso4_DF.h5"),
        "036ed30d04ffd9c7506f825b97c86aa64915f5818931da96817b169aad790af5",
        156_128,
    ),
    _entry(
        *("meso4", "Meso4", "f2f", "Meso4_F2F.h5"),
        "bcfda015d217b9f8d6557693edbdf9f4e79cfd22672541968dd0e2954462b5d7",
        156_128,
    ),
    _entry(
        *("mesoinception4", "MesoInception4", "df", "MesoInception_DF.h5"),
        "234586d40058e76ef8b6f27ca4b63c06e31c2a5a69c0d8ba6f30b1468ab7bafa",
        197_504,
    ),
    _entry(
        *("mesoinception4", "MesoInception4", "f2f", "MesoInception_F2F.h5"),
        "d4533ac8a3197dc35c47405d23d99e888c1d0135e267e03540c7451feaccff3f",
        197_504,
    ),
)
