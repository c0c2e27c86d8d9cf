"""Names of EfficientNets: in the package efficientnet_pytorch, and in timm."""

from collections.abc import Iterable

_ONCE = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
_FIRST_STAGE = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
_OTHER_STAGES = {
    **{"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"},
    **{"conv_pwl": "_project_conv", "bn3": "_bn2"},
}
_ATTENTION = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}


def efficientnet_names(names: Iterable[str]) -> dict[str, str]:
    """Names in efficientnet_pytorch of timm's tensors; it counts its blocks through all stages.

    >>> list(efficientnet_names(["blocks.0.1.bn1.bias", "blocks.1.0.conv_pwl.weight"]).values())
    ['_blocks.0._bn1.bias', '_blocks.1._project_conv.weight']
    """
    names = list(names)
    found = {tuple(map(int, name.split(".")[1:3])) for name in names if name.startswith("blocks.")}
    numbers = {place: number for number, place in enumerate(sorted(found))}
    renamed = {}
    for name in names:
        layer, _, kind = name.rpartition(".")
        if layer.startswith("blocks."):
            _, stage, block, part = layer.split(".", 3)
            parts = {**_ATTENTION, **(_FIRST_STAGE if stage == "0" else _OTHER_STAGES)}
            renamed[name] = f"_blocks.{numbers[int(stage), int(block)]}.{parts[part]}.{kind}"
        else:
            renamed[name] = f"{_ONCE[layer]}.{kind}"
    return renamed
