"""The ``kornia`` library: random image views on whole batches, CPU or GPU."""

from jaxtyping import Float
from kornia.augmentation import (
    AugmentationSequential,
    RandomAffine,
    RandomErasing,
    RandomResizedCrop,
)
from torch import Tensor


class DigitViews:
    """SimCLR's crop for images whose orientation and polarity carry the class.

    A random resized crop, a small rotation and shear, and an erased patch. No
    flip: a mirrored 2 is no 2. Draws from torch's global generator.

    Args:
        size: height and width of the images.
    """

    def __init__(self, size: int) -> None:
        self.transform = AugmentationSequential(
            RandomResizedCrop(
                (size, size), scale=(0.4, 1.0), ratio=(0.8, 1.25), cropping_mode="resample"
            ),
            RandomAffine(degrees=15.0, shear=10.0, p=0.8),
            RandomErasing(scale=(0.02, 0.15), p=0.5),
            data_keys=["input"],
        )

    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return one random view of each image, drawn independently."""
        view: Tensor = self.transform(images)
        return view
