"""The image encoders of ``transformers`` and timm, by name, with freshly drawn weights."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from harness.core.errors import InputError, require, unknown

MAX_SMALL_SIZE = 64
"""The largest images, in pixels, for which a ResNet has the small-image stem."""


class _ResNet(NamedTuple):
    layer: str
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]


class _ViT(NamedTuple):
    width: int
    heads: int


_BASIC, _BOTTLENECK = (64, 128, 256, 512), (256, 512, 1024, 2048)
_NETWORKS: dict[str, _ResNet | _ViT] = {
    "resnet18": _ResNet("basic", _BASIC, (2, 2, 2, 2)),
    "resnet34": _ResNet("basic", _BASIC, (3, 4, 6, 3)),
    "resnet50": _ResNet("bottleneck", _BOTTLENECK, (3, 4, 6, 3)),
    "vit-tiny": _ViT(192, 3),
    "vit-small": _ViT(384, 6),
}
NAMES = tuple(_NETWORKS)
OF_ONE_SIZE = tuple(name for name, network in _NETWORKS.items() if isinstance(network, _ViT))
"""The networks that take images of the size that they were built for, and of no other."""
TIMM = "timm:"
"""The prefix of timm's models."""


def encoder(name: str, *, channels: int, size: int) -> nn.Module:
    """Return a fresh encoder: [n, channels, size, size] in, [n, features] out.

    ResNets (arXiv 1512.03385) give the mean over the last feature map. Up to 64 pixels
    their stem is one 3x3 convolution of stride 1, without max-pooling, as is usual for
    CIFAR (arXiv 2002.05709, appendix B.9). Above, it is ImageNet's: a 7x7 convolution of
    stride 2, with max-pooling. ViTs (arXiv 2010.11929) have 12 layers and patches of
    :func:`patch_size`, and give their class token after the last norm. Weights are drawn
    from torch's global generator.

    ``timm:NAME`` is timm's model of that name without its classifier.

    Raises:
        InputError: if there is no such encoder, or a ViT's patches do not tile the image.
    """
    if name.startswith(TIMM):
        return _timm(name.removeprefix(TIMM), channels, size)
    network = _network(name)
    if isinstance(network, _ResNet):
        return _resnet(network, channels, size)
    return _vit(network, channels, size)


def patch_size(size: int) -> int:
    """Return the side of a ViT's patch: 4 pixels up to 32, 8 up to 96, 16 above.

    >>> [patch_size(size) for size in (32, 64, 96, 224)]
    [4, 8, 8, 16]
    """
    return 4 if size <= 32 else 8 if size <= 96 else 16


class _Features(nn.Module):
    """A network of ``transformers`` that takes a tensor and returns one."""

    def __init__(self, model: nn.Module, width: int, *, pooled: bool) -> None:
        super().__init__()
        self.model = model
        self.out_features = width
        self.pooled = pooled

    def forward(self, images: Tensor) -> Tensor:
        outputs = self.model(images)
        rows: Tensor
        rows = outputs.pooler_output.flatten(1) if self.pooled else outputs.last_hidden_state[:, 0]
        return rows


def _network(name: str) -> _ResNet | _ViT:
    if name not in _NETWORKS:
        raise unknown("encoder", name, _NETWORKS)
    return _NETWORKS[name]


def _resnet(network: _ResNet, channels: int, size: int) -> nn.Module:
    from transformers import ResNetConfig, ResNetModel

    stem = 64
    config = ResNetConfig(
        num_channels=channels,
        embedding_size=stem,
        hidden_sizes=list(network.widths),
        depths=list(network.depths),
        layer_type=network.layer,
    )
    model = ResNetModel(config)
    if size <= MAX_SMALL_SIZE:
        first = nn.Conv2d(channels, stem, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
        model.embedder.embedder.convolution = first
        model.embedder.pooler = nn.Identity()
    # Channels-last gives the same values, faster: convolutions and BatchNorm read a pixel's
    # channels from one place in memory.
    return _Features(model, network.widths[-1], pooled=True).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _timm(name: str, channels: int, size: int) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"`network` 'timm:{name}' needs the package timm, which is not installed: `pip install "
            "timm`."
        ) from error
    given = {"pretrained": False, "in_chans": channels, "num_classes": 0}
    try:
        try:
            model = timm.create_model(name, **given, img_size=size)
        except TypeError:  # Convolutional networks take images of any size.
            model = timm.create_model(name, **given)
    except Exception as error:
        raise InputError(
            f"`network` must be one of timm's models for images of {size} pixels: got 'timm:{name}'"
            f" ({type(error).__name__}: {error}). `timm.list_models()` lists them."
        ) from error
    # Some models have a layer between the pooled features and the classifier.
    model.out_features = getattr(model, "head_hidden_size", None) or model.num_features
    encoder: nn.Module = model
    return encoder


def _vit(network: _ViT, channels: int, size: int) -> nn.Module:
    from transformers import ViTConfig, ViTModel

    patch = patch_size(size)
    require(
        size % patch == 0,
        f"`size` must be a multiple of {patch} for a ViT on images of that size: got {size}. "
        "Set another `size`, or use a ResNet.",
    )
    config = ViTConfig(
        num_channels=channels,
        image_size=size,
        patch_size=patch,
        hidden_size=network.width,
        num_attention_heads=network.heads,
        num_hidden_layers=12,
        intermediate_size=4 * network.width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return _Features(ViTModel(config, add_pooling_layer=False), network.width, pooled=False)
