"""The ``kornia`` library: random image views on whole batches, CPU or GPU."""

from jaxtyping import Float
from torch import Tensor


class DigitViews:
    """SimCLR's crop for images whose orientation and polarity carry the class.

    A random resized crop, a small rotation and shear, and an erased patch. No
    flip: a mirrored 2 is no 2. Draws from torch's global generator.

    Args:
        size: height and width of the views.
        small: whether a view shows a smaller part: .4 to .7 of the area, instead of .4 to 1. A
            part much smaller than that does not show which digit it is of.
    """

    def __init__(self, size: int, *, small: bool = False) -> None:
        from kornia.augmentation import (
            AugmentationSequential,
            RandomAffine,
            RandomErasing,
            RandomResizedCrop,
        )

        self.transform = AugmentationSequential(
            RandomResizedCrop(
                (size, size),
                scale=(0.4, 0.7) if small else (0.4, 1.0),
                ratio=(0.8, 1.25),
                cropping_mode="resample",
            ),
            RandomAffine(degrees=15.0, shear=10.0, p=0.8),
            RandomErasing(scale=(0.02, 0.15), p=0.5),
            data_keys=["input"],
        )

    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c s s"]:
        """Return one random view of each image, drawn independently."""
        view: Tensor = self.transform(images)
        return view


class SimCLRViews:
    """SimCLR's views: crop, flip, colours, grey and blur (arXiv 2002.05709, appendix A).

    A resized crop of .08 to 1 of the area; a flip with p .5; with p .8 brightness,
    contrast and saturation by up to ``strength`` and hue by up to a quarter of it; grey
    with p .2; with p .5 a Gaussian blur over a tenth of the width, sigma .1 to 2. Images in
    grey get no colour changes. Draws from torch's global generator.

    Convention: the crop is torchvision's default, which SimCLR, solo-learn and ADNCE's
    authors use on CIFAR too; strength .4 is ADNCE's, .8 solo-learn's and SimCLR's for
    ImageNet. SimCLR's own runs on CIFAR have no blur.

    Args:
        size: height and width of the views.
        colour: whether the images have colours.
        strength: how much the colours change.
        small: whether a view shows a small part: .05 to .4 of the area, as DINO's local crops
            (arXiv 2104.14294).
    """

    def __init__(
        self, size: int, *, colour: bool, strength: float = 0.4, small: bool = False
    ) -> None:
        from kornia.augmentation import (
            AugmentationSequential,
            ColorJitter,
            RandomGaussianBlur,
            RandomGrayscale,
            RandomHorizontalFlip,
            RandomResizedCrop,
        )

        width = max(3, size // 10 // 2 * 2 + 1)
        scale = (0.05, 0.4) if small else (0.08, 1.0)
        crop = RandomResizedCrop((size, size), scale=scale, cropping_mode="resample")
        jitter = ColorJitter(strength, strength, strength, strength / 4, p=0.8)
        blur = RandomGaussianBlur((width, width), (0.1, 2.0), p=0.5)
        self.transform = AugmentationSequential(
            crop,
            RandomHorizontalFlip(p=0.5),
            *([jitter, RandomGrayscale(p=0.2)] if colour else []),
            blur,
            data_keys=["input"],
        )

    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c s s"]:
        """Return one random view of each image in [0, 1], drawn independently."""
        view: Tensor = self.transform(images)
        return view
