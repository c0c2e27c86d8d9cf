"""Names of CLIP's picture tower: in the transformers library, and in timm."""

from dfd.models.published.naming import Source, joined

_ONCE = {
    "patch_embed.proj.weight": "embeddings.patch_embedding.weight",
    "norm_pre": "pre_layrnorm",  # the library's spelling
    "norm": "post_layernorm",
}
_IN_BLOCKS = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def clip_source(name: str, prefix: str) -> Source:
    """Source of timm's tensor ``name`` in a tower whose names begin with ``prefix``.

    >>> clip_source("blocks.3.attn.qkv.bias", "tower.").names[0]
    'tower.encoder.layers.3.self_attn.q_proj.bias'
    """
    if name == "cls_token":
        return Source((f"{prefix}embeddings.class_embedding",), lambda tensor: tensor.reshape(1, 1, -1))
    if name == "pos_embed":
        return Source((f"{prefix}embeddings.position_embedding.weight",), lambda tensor: tensor.unsqueeze(0))
    if name in _ONCE:
        return Source((prefix + _ONCE[name],))
    layer, _, kind = name.rpartition(".")
    if not layer.startswith("blocks."):
        return Source((f"{prefix}{_ONCE[layer]}.{kind}",))
    _, number, part = layer.split(".", 2)
    block = f"{prefix}encoder.layers.{number}."
    if part == "attn.qkv":
        return Source(tuple(f"{block}self_attn.{which}_proj.{kind}" for which in "qkv"), joined)
    return Source((f"{block}{_IN_BLOCKS[part]}.{kind}",))
