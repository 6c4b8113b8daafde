"""The image sets' layouts, the networks, the views, and what the evaluation must not do."""

import gzip
import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from adapters.data import image_data
from adapters.networks import image_networks
from adapters.views.image_views import DigitViews, SimCLRViews
from harness import data, plugins
from harness.core import states
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.heads import representation_width
from harness.optimizers import TRUST, lars
from harness.testing import TASK_CHECKS, scores_of
from harness.training.loop import evaluate, fit
from tasks.images.images import Images

DATA = Path(os.environ.get("TRIPTYCH_DATA", "")) / "cifar10"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, with the wheels that were fetched before."""
    folder = tmp_path / "cache"
    folder.mkdir()
    kept = Path(os.environ.get("TRIPTYCH_CACHE") or Path.home() / ".cache" / "triptych")
    (kept / "wheels").mkdir(parents=True, exist_ok=True)
    (folder / "wheels").symlink_to(kept / "wheels")
    monkeypatch.setenv("TRIPTYCH_CACHE", str(folder))
    # The sets here are a few images in the layouts of large ones.
    monkeypatch.setattr(data, "require_counts", lambda *_: None)
    return folder


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """[channels, height, width] as a file."""
    file = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels, 0, -1)).save(file, "png")
    return file.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def class_folders(folder: Path, test: str = "test", a_class: int = 12) -> np.ndarray:
    """Write two classes of 8 x 8 images, half as many for the test; return them in order."""
    images = drawn(3 * a_class, 3, 8, 8)
    places = [("train", name, i) for name in ("cat", "dog") for i in range(a_class)]
    places += [(test, name, i) for name in ("cat", "dog") for i in range(a_class // 2)]
    for (split, name, number), pixels in zip(places, images, strict=True):
        written(folder / split / name / f"{number:03}.png", png(pixels))
    return images


# Layouts


@pytest.mark.parametrize(("name", "labels"), [("cifar10", 1), ("cifar100", 2)])
def test_cifars_binary_version(tmp_path: Path, name: str, labels: int) -> None:
    images, classes = drawn(12, 3, 32, 32), np.arange(12) % 4
    rows = np.concatenate(
        [np.full((12, labels - 1), 9), classes[:, None], images.reshape(12, -1)], axis=1
    ).astype(np.uint8)
    place = tmp_path / image_data.SOURCES[name].places[0]
    files = [f"data_batch_{i}.bin" for i in range(1, 6)] if labels == 1 else ["train.bin"]
    for file, part in zip(files, np.array_split(rows[:10], len(files)), strict=True):
        written(place / file, part.tobytes())
    written(place / ("test_batch.bin" if labels == 1 else "test.bin"), rows[10:].tobytes())
    pictures = image_data.load(name, str(tmp_path), 0)
    np.testing.assert_array_equal(pictures.images, images)
    np.testing.assert_array_equal(pictures.labels, classes)
    assert pictures.train.tolist() == list(range(10))
    assert pictures.test.tolist() == [10, 11]
    training = images[:10] / 255
    np.testing.assert_allclose(pictures.mean, training.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(pictures.std, training.std(axis=(0, 2, 3)))


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    for number in range(1, 6):
        written(tmp_path / "cifar-10-batches-bin" / f"data_batch_{number}.bin", bytes(3073))
    written(tmp_path / "cifar-10-batches-bin" / "test_batch.bin", bytes(3000))
    with pytest.raises(InputError, match=r"test_batch.bin must hold 0 bytes: got 3000"):
        image_data.load("cifar10", str(tmp_path), 0)


def test_stl10s_columns_come_first_and_unlabelled_images_are_trained_on(tmp_path: Path) -> None:
    images = drawn(9, 3, 96, 96)
    for name, part in (("train", images[:4]), ("test", images[4:6]), ("unlabeled", images[6:])):
        written(tmp_path / "stl10_binary" / f"{name}_X.bin", part.swapaxes(2, 3).tobytes())
    written(tmp_path / "stl10_binary" / "train_y.bin", bytes([1, 2, 1, 2]))
    written(tmp_path / "stl10_binary" / "test_y.bin", bytes([2, 1]))
    pictures = image_data.load("stl10", str(tmp_path), 0)
    np.testing.assert_array_equal(pictures.images, images)
    assert pictures.labels.tolist() == [0, 1, 0, 1, 1, 0, -1, -1, -1]
    assert pictures.unlabelled.tolist() == [6, 7, 8]
    task = Images(data="stl10", root=str(tmp_path), labels=1, validation=2)
    task.load(Randomness("t", "", 0))
    assert task.train_size() == 4 - 2 + 3
    assert sorted(task.batch(torch.arange(5)).labels.tolist()) == [-1, -1, -1, 0, 1]  # type: ignore[union-attr]
    assert set(task.splits()[0]["train"]) >= {6, 7, 8}


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files(tmp_path: Path, packed: bool) -> None:
    images = drawn(7, 1, 28, 28)
    classes = np.array([0, 1, 2, 0, 1, 2, 1], dtype=np.uint8)
    for prefix, part in (("train", slice(0, 5)), ("t10k", slice(5, 7))):
        for kind, array in (("images-idx3", images[part, 0]), ("labels-idx1", classes[part])):
            head = struct.pack(f">HBB{array.ndim}i", 0, 8, array.ndim, *array.shape)
            content = head + array.tobytes()
            name = f"{prefix}-{kind}-ubyte" + (".gz" if packed else "")
            written(
                tmp_path / "fashion-mnist" / name, gzip.compress(content) if packed else content
            )
    pictures = image_data.load("fashion-mnist", str(tmp_path), 0)
    np.testing.assert_array_equal(pictures.images, images)
    assert pictures.labels.tolist() == classes.tolist()
    assert pictures.test.tolist() == [5, 6]


@pytest.mark.parametrize("form", ["folders", "zips", "val"])
def test_folders_of_classes(tmp_path: Path, form: str) -> None:
    images = class_folders(tmp_path / "here", "val" if form == "val" else "test")
    if form == "zips":
        for split in ("train", "test"):
            with ZipFile(tmp_path / "here" / f"my-{split}.zip", "w") as archive:
                for file in (tmp_path / "here" / split).rglob("*.png"):
                    archive.write(file, file.relative_to(tmp_path / "here"))
                    file.unlink()
    pictures = image_data.load("folder", str(tmp_path / "here"), 0)
    np.testing.assert_array_equal(pictures.images, images)
    assert pictures.labels.tolist() == [0] * 12 + [1] * 12 + [0] * 6 + [1] * 6
    again = image_data.load(str(tmp_path / "here"), "", 0)
    np.testing.assert_array_equal(again.images, images)


def test_tinyimagenets_own_layout(tmp_path: Path) -> None:
    images, place = drawn(6, 3, 64, 64), tmp_path / "tiny-imagenet-200"
    for number, name in enumerate(("n02", "n02", "n01", "n01")):
        file = place / "train" / name / "images" / f"{name}_{number}.JPEG"
        written(file, png(images[number]))  # Its content tells the format.
    for number in (4, 5):
        written(place / "val" / "images" / f"val_{number}.JPEG", png(images[number]))
    notes = "val_5.JPEG\tn01\t0\t0\t9\t9\nval_4.JPEG\tn02\t0\t0\t9\t9\n"
    written(place / "val" / "val_annotations.txt", notes.encode())
    pictures = image_data.load("tinyimagenet", str(tmp_path), 0)
    np.testing.assert_array_equal(pictures.images, images[[2, 3, 0, 1, 5, 4]])
    assert pictures.labels.tolist() == [0, 0, 1, 1, 0, 1]


@pytest.mark.parametrize("form", ["saved", "parquet", "hub"])
def test_data_of_the_datasets_library_is_read(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's builder is that of a folder of parquet; only the network is left out."""
    import datasets

    images, labels = drawn(9, 3, 8, 8), [0, 1, 2, 0, 1, 2, 0, -1, -1]
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    parts = {"train": slice(0, 5), "validation": slice(5, 7), "test": slice(7, 9)}
    tables = datasets.DatasetDict(
        {
            name: datasets.Dataset.from_dict(
                {"img": [{"bytes": png(i), "path": None} for i in images[part]],
                 "label": labels[part]}, features=features,
            )
            for name, part in parts.items()
        }
    )  # fmt: skip
    folder = tmp_path / "tables"
    if form == "saved":
        tables.save_to_disk(folder)
    else:
        (folder / "data").mkdir(parents=True)
        for name, table in tables.items():
            table.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    data = str(folder)
    if form == "hub":
        builder = datasets.load_dataset_builder(str(folder), cache_dir=str(tmp_path / "hf"))
        monkeypatch.setattr(datasets, "load_dataset_builder", lambda name, revision: builder)
        data = "hub:owner/name@main"
    pictures = image_data.load(data, "", 0)
    np.testing.assert_array_equal(pictures.images, images[:7])
    assert pictures.labels.tolist() == labels[:7]
    assert pictures.test.tolist() == [5, 6]


def test_the_short_side_is_scaled_and_the_centre_cut_out(tmp_path: Path) -> None:
    images = np.zeros((3, 20, 40), dtype=np.uint8)
    images[:, :, 10:30] = 200
    for split in ("train", "test"):
        for name in ("a", "b"):
            written(tmp_path / split / name / "0.png", png(images))
            written(tmp_path / split / name / "1.png", png(images[:, :16]))
    pictures = image_data.load(str(tmp_path), "", 10)
    assert pictures.images.shape == (8, 3, 10, 10)
    assert (pictures.images[0][:, :, 1:-1] == 200).all()
    with pytest.raises(InputError, match="`size` must be set if images differ in size"):
        image_data.load(str(tmp_path), "", 0)


def test_images_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "here")
    first = image_data.prepare("folder", str(tmp_path / "here"), 0)
    monkeypatch.setattr(image_data, "_decode", lambda *_: pytest.fail("decoded again"))
    assert image_data.prepare("folder", str(tmp_path / "here"), 0) == first
    pictures = image_data.load("folder", str(tmp_path / "here"), 0)
    assert isinstance(pictures.images, np.memmap)
    assert not pictures.images.flags.writeable


def test_other_files_are_decoded_anew(tmp_path: Path) -> None:
    images = class_folders(tmp_path / "here")
    before = image_data.prepare("folder", str(tmp_path / "here"), 0)
    written(tmp_path / "here" / "train" / "cat" / "000.png", png(images[1]))
    assert image_data.prepare("folder", str(tmp_path / "here"), 0) != before
    pictures = image_data.load("folder", str(tmp_path / "here"), 0)
    np.testing.assert_array_equal(pictures.images[0], images[1])


def test_a_decoding_that_fails_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    class_folders(tmp_path / "here")
    written(tmp_path / "here" / "train" / "cat" / "000.png", b"no image")
    with pytest.raises(
        InputError, match=r"000.png is not a readable image: .* Remove it, or copy it again"
    ):
        image_data.load("folder", str(tmp_path / "here"), 0)
    assert not [path for path in (cache / "images").iterdir() if path.is_dir()]


def test_wrong_names_and_places_are_refused(tmp_path: Path, as_a_user: None) -> None:
    with pytest.raises(
        InputError, match=r"There is no image data set 'cifr10'\. Did you mean 'cif"
    ):
        Images(data="cifr10")
    with pytest.raises(InputError, match=r"`root` must name the folder of `data='folder'`: got ''"):
        Images(data="folder")
    with pytest.raises(
        InputError, match=r"`data` must be a folder of images: got '.*nowhere'. Looked for"
    ):
        Images(data=str(tmp_path / "nowhere")).fetch()
    with pytest.raises(InputError, match="Did you mean 'resnet18'"):
        Images(network="resnet-18")
    written(tmp_path / "empty" / "notes.csv", b"nothing")
    with pytest.raises(
        InputError, match=r"must hold images .* in folders train/CLASS and test/CLASS"
    ):
        Images(data=str(tmp_path / "empty")).fetch()


def test_zips_next_to_their_extracted_files_are_not_read_again(tmp_path: Path) -> None:
    class_folders(tmp_path / "here")
    with ZipFile(tmp_path / "here" / "train.zip", "w") as archive:
        for file in (tmp_path / "here").glob("train/*/*"):
            archive.write(file, file.relative_to(tmp_path / "here"))
    found = image_data.load("folder", str(tmp_path / "here"), 0)
    assert (len(found.train), len(found.test)) == (24, 12)


def test_an_incomplete_set_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "cifar10")
    monkeypatch.undo()
    message = r"'cifar10' must have 50,000 images in train: got 24 .*Get the whole set from https"
    with pytest.raises(InputError, match=message):
        image_data.load("cifar10", str(tmp_path), 0)


def test_more_than_8_bits_a_channel_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path / "here")
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(
        tmp_path / "here" / "train" / "cat" / "000.png"
    )
    message = r"train/cat/000.png is not a readable .* 8 bits per channel .Pillow's mode 'I;16'"
    with pytest.raises(InputError, match=message):
        image_data.load("folder", str(tmp_path / "here"), 0)


def test_validation_has_the_configured_size() -> None:
    for count in (3, 14, 100):
        task = Images(data="digits", validation=count)
        task.load(Randomness("images", "", 0))
        assert len(list(task.splits()[0]["validation"])) == count
    with pytest.raises(InputError, match=r"`validation` must leave training images of every cl"):
        Images(data="digits", validation=1437).load(Randomness("images", "", 0))


def test_every_source_is_described() -> None:
    for name, source in image_data.SOURCES.items():
        assert (source.name, source.modality) == (name, "image")
        assert source.about and source.licence and source.origin
        assert source.embedded or source.places


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    pictures, theirs = image_data.load("digits", "", 0), load_digits()
    np.testing.assert_allclose(pictures.images[:, 0] / 255 * 16, theirs.images, atol=0.04)
    np.testing.assert_array_equal(pictures.labels, theirs.target)
    assert len(pictures.train) + len(pictures.test) == 1797
    assert not set(pictures.train) & set(pictures.test)


@pytest.mark.skipif(not DATA.exists(), reason="TRIPTYCH_DATA names no folder with cifar10/")
def test_cifar10_images_match_pillows(tmp_path: Path) -> None:
    """The test split alone, for time: its counts, and pixels as PIL has them."""
    archive = DATA / "cifar10-test-jpg.zip"
    for split in ("train", "test"):  # The small one as both.
        with ZipFile(archive) as source, ZipFile(tmp_path / f"{split}.zip", "w") as copy:
            for name in source.namelist():
                if int(Path(name).stem) < 20:
                    copy.writestr(name.replace("test/", f"{split}/"), source.read(name))
    pictures = image_data.load("folder", str(tmp_path), 0)
    assert np.bincount(pictures.labels[pictures.test]).tolist() == [20] * 10
    with ZipFile(archive) as opened:
        theirs = np.asarray(Image.open(io.BytesIO(opened.read("test/frog/0007.jpg"))))
    ours = pictures.images[pictures.test][6 * 20 + 7]
    np.testing.assert_array_equal(np.moveaxis(ours, 0, -1), theirs)


# Networks, views, LARS


@pytest.mark.parametrize(
    ("name", "size", "parameters"),
    [
        ("resnet18", 32, 11_168_832),  # 11.17 million, as solo-learn's without its classifier.
        ("resnet18", 224, 11_176_512),  # torchvision's 11,689,512 less its classifier.
        ("resnet34", 224, 21_284_672),
        ("resnet50", 32, 23_500_352),
        ("resnet50", 224, 23_508_032),
        ("vit-tiny", 224, 5_524_416),  # timm's 5,717,416 less its classifier.
        ("vit-small", 224, 21_665_664),
    ],
)
def test_networks_have_the_published_size(name: str, size: int, parameters: int) -> None:
    with torch.device("meta"):
        network = image_networks.encoder(name, channels=3, size=size)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("name", ["resnet18", "vit-tiny"])
def test_networks_take_grey_and_small_images(name: str) -> None:
    torch.manual_seed(0)
    first = image_networks.encoder(name, channels=1, size=8)
    rows = first(torch.rand(3, 1, 8, 8))
    assert rows.shape == (3, representation_width(first))
    torch.manual_seed(0)
    second = image_networks.encoder(name, channels=1, size=8)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


def test_small_images_keep_their_size_in_a_resnets_stem() -> None:
    network = image_networks.encoder("resnet18", channels=3, size=32)
    assert network.model.embedder(torch.rand(1, 3, 32, 32)).shape == (1, 64, 32, 32)
    assert network.model.encoder(torch.rand(1, 64, 32, 32))[0].shape == (1, 512, 4, 4)


def test_a_vits_patches_must_tile_the_image(as_a_user: None) -> None:
    with pytest.raises(InputError, match=r"`size` must be a multiple of 4 for a ViT .*: got 30"):
        image_networks.encoder("vit-tiny", channels=3, size=30)


@pytest.mark.parametrize("colour", [True, False])
def test_simclr_views(colour: bool) -> None:
    images = torch.rand(400, 3 if colour else 1, 16, 16)
    views = SimCLRViews(16, colour=colour)
    torch.manual_seed(0)
    first = views(images)
    torch.manual_seed(0)
    assert torch.equal(first, views(images))
    assert first.shape == images.shape
    assert first.min() >= 0 and first.max() <= 1 + 1e-5
    assert not torch.equal(first, views(images))
    if colour:  # Grey with p .2: the three channels of a row are one.
        grey = (first.amax(dim=1) - first.amin(dim=1)).amax(dim=(1, 2)) < 1e-4
        assert grey.float().mean().item() == pytest.approx(0.2, abs=0.06)


def test_lars_is_its_equation_and_leaves_biases_alone() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    before = [p.detach().clone() for p in layer.parameters()]
    optimizer = lars([{"params": list(layer.parameters())}], lr=0.5, weight_decay=0.1)
    layer(torch.rand(8, 4)).square().sum().backward()
    slopes = [p.grad.clone() for p in layer.parameters()]  # type: ignore[union-attr]
    optimizer.step()
    (w, b), (gw, gb) = before, slopes
    trust = TRUST * w.norm() / (gw.norm() + 0.1 * w.norm())
    torch.testing.assert_close(layer.weight.detach(), w - 0.5 * trust * (gw + 0.1 * w))
    torch.testing.assert_close(layer.bias.detach(), b - 0.5 * gb)


def test_lars_continues_from_a_checkpoint(tmp_path: Path) -> None:
    def run(steps: int, stop: int | None) -> list[torch.Tensor]:
        torch.manual_seed(0)
        layer = nn.Linear(4, 3)
        optimizer = make(layer)
        for step in range(steps):
            if step == stop:
                path = tmp_path / "state"
                states.save(path, {"optimizer": optimizer.state_dict()})
                optimizer = make(layer)
                optimizer.load_state_dict(states.load(path)["optimizer"])  # type: ignore[index]
            optimizer.zero_grad()
            layer(torch.full((2, 4), float(step))).square().sum().backward()
            optimizer.step()
        return list(layer.parameters())

    def make(layer: nn.Module) -> torch.optim.Optimizer:
        groups = [{"params": list(layer.parameters())}]
        return lars(groups, lr=0.1, weight_decay=0.1)

    for one, two in zip(run(5, None), run(5, 3), strict=True):
        assert torch.equal(one, two)


# The task


def loaded(task: Images, seed: int = 0) -> Images:
    task.load(Randomness("images", "", seed))
    return task


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Images]:
    """A task on two classes of 40 small images, 20 for the test."""
    class_folders(tmp_path / "small", a_class=40)

    def make(**settings: Any) -> Images:
        chosen: dict[str, Any] = {"labels": 0, "validation": 20, "batch_size": 16, "steps": 2}
        return Images(data="folder", root=str(tmp_path / "small"), **(chosen | settings))

    return make


UNLEARNABLE = {"check_task_training_beats_untrained"}  # Noise has nothing to learn.


@pytest.mark.parametrize(
    "settings", ["labels=0, knn=5", "labels=3, draws=2, network='vit-tiny', head_form='adnce'"]
)
@pytest.mark.parametrize(
    "check", [pytest.param(c, id=c.__name__) for c in TASK_CHECKS if c.__name__ not in UNLEARNABLE]
)
def test_contract(
    check: Callable[[str], None], settings: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "contract"  # One place: a loaded task is kept.
    if not root.exists():
        class_folders(root, a_class=40)
    check(f"images(data='folder', root={str(root)!r}, batch_size=16, validation=20, {settings})")


def test_validation_is_drawn_from_train_by_the_seed(small: Callable[..., Images]) -> None:
    first, second = (loaded(small(), seed).splits()[0] for seed in (0, 1))
    assert {name: len(list(part)) for name, part in first.items()} == {
        "train": 60,
        "validation": 20,
        "test": 40,
    }
    assert first["test"] == second["test"] == list(range(80, 120))
    assert first["validation"] != second["validation"]


def test_probes_see_no_augmentation_and_the_encoder_stays(small: Callable[..., Images]) -> None:
    """What ADNCE's probe did: it trained on views, and BatchNorm's statistics drifted."""
    task = small(knn=3)
    method, loss = plugins.build("methods", "siamese"), plugins.build("losses", "infonce")
    fit(task, method, loss, Randomness("t", "", 0), splits=())
    seen = []
    hook = method.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    task._views = None  # type: ignore[assignment]
    evaluate(task, method, ("test",), Randomness("t", "", 0))
    hook.remove()
    for name, value in method.state_dict().items():
        assert torch.equal(value, before[name]), name
    pictures = task._pictures
    order = np.unique([*task._known, *task._division["validation"], *task._division["test"]])
    shape = (1, 3, 1, 1)
    mean, std = (np.reshape(v, shape).astype(np.float32) for v in (pictures.mean, pictures.std))
    plain = (pictures.images[order].astype(np.float32) / 255 - mean) / std
    np.testing.assert_allclose(torch.cat(seen).numpy(), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("labels", [0, 4])
def test_validation_does_not_read_the_test_split(small: Callable[..., Images], labels: int) -> None:
    scores = []
    for spoilt in (False, True):
        task = loaded(small(labels=labels, knn=3))
        if spoilt:
            test = task._division["test"]
            images, classes = np.array(task._pictures.images), task._pictures.labels.copy()
            images[test], classes[test] = 0, 99
            object.__setattr__(task._pictures, "images", images)
            object.__setattr__(task._pictures, "labels", classes)
        with Randomness("t", "", 0).seeded("init"), torch.no_grad():
            scores.append(scores_of(task, task.encoder().eval(), "validation"))
    image_data._opened.cache_clear()
    assert scores[0] == scores[1]


def test_the_vote_of_neighbours_ignores_the_losss_temperature(small: Callable[..., Images]) -> None:
    task = loaded(small(knn=5))
    with Randomness("t", "", 0).seeded("init"), torch.no_grad():
        encoder = task.encoder().eval()
        scores = scores_of(task, encoder, "test")
        rows = [task._encoded(encoder, n) for n in (task._known, task._division["test"])]
    bank, scored = (row / np.linalg.norm(row, axis=1, keepdims=True) for row in rows)
    classes = task._pictures.labels
    right = 0
    for row, number in zip(scored, task._division["test"], strict=True):
        near = np.argsort(-(bank @ row))[:5]
        votes = np.zeros(2)
        np.add.at(votes, classes[task._known[near]], np.exp(bank[near] @ row / 0.07))
        right += votes.argmax() == classes[number]
    assert scores["knn_accuracy"] == pytest.approx(100 * right / len(scored))


def test_a_fitted_probe_is_not_reused_for_another_encoder(small: Callable[..., Images]) -> None:
    task = loaded(small())
    torch.manual_seed(0)
    first, second = (task.encoder().eval() for _ in range(2))
    with torch.no_grad():
        alone = scores_of(loaded(small()), second, "test")
        scores_of(task, first, "validation")
        assert scores_of(task, second, "test") == alone
        first[0].weight.mul_(-1)  # The same object, with other weights.
        changed = scores_of(task, first, "test")
        assert changed == scores_of(loaded(small()), first, "test")


@pytest.mark.parametrize("optimizer", ["sgd", "lars"])
def test_optimizers_of_the_field(small: Callable[..., Images], optimizer: str) -> None:
    task = small(epochs=1, optimizer=optimizer, schedule="cosine", warmup=0.4, precision="bfloat16")
    method, loss = plugins.build("methods", "siamese"), plugins.build("losses", "infonce")
    outcome = fit(task, method, loss, Randomness("t", "", 0), splits=())
    assert outcome.steps == 60 // 16
    assert all(np.isfinite(value) for _, value in outcome.curve)


def test_settings_above_the_number_of_images_are_refused(small: Callable[..., Images]) -> None:
    with pytest.raises(InputError, match=r"`labels` must be at most 30, .*: got 31. Set labels=0"):
        loaded(small(labels=31))
    with pytest.raises(InputError, match=r"`knn` must be .* labelled training images, 60"):
        loaded(small(knn=61))
    with pytest.raises(InputError, match=r"`validation` must be below .* images, 80"):
        loaded(small(validation=80))


def test_cached_images_record_their_source(small: Callable[..., Images], cache: Path) -> None:
    (found,) = small().fetch()
    (about,) = (cache / "images").glob("*/about.json")
    said = json.loads(about.read_text())
    assert (said["data"], said["sha256"]) == (found.name, found.checksum)


# Small crops


@pytest.mark.parametrize(
    ("make", "most"),
    [(DigitViews, 0.95), (lambda *a, **k: SimCLRViews(*a, colour=False, **k), 0.8)],
)
def test_small_crops_show_less_of_an_image(make: Callable[..., Any], most: float) -> None:
    """A ramp from 0 to 1: a crop of a share of its width spans that share of its values."""
    ramp = torch.linspace(0, 1, 32).expand(200, 1, 32, 32).clone()
    torch.manual_seed(0)
    whole, part = (
        # Quantiles, because an erased patch and a shear's edge add zeros.
        (view.quantile(0.9, dim=3) - view.quantile(0.3, dim=3)).median(dim=2).values.median()
        for view in (make(32)(ramp), make(16, small=True)(ramp))
    )
    assert part < most * whole
    assert make(16, small=True)(ramp).shape == (200, 1, 16, 16)


@pytest.mark.parametrize(
    ("settings", "pixels"),
    [({}, 16), ({"network": "resnet18"}, 16), ({"network": "resnet18", "crop_size": 8}, 8)],
)
def test_crops_have_their_own_size(
    small: Callable[..., Images], settings: dict[str, Any], pixels: int
) -> None:
    task = loaded(small(size=16, **settings))
    batch = task.batch(torch.arange(16))
    with Randomness("images", "", 0).seeded("further"):
        crops = task.further_views(batch.data, 3)
    assert [tuple(crop.shape) for crop in crops] == [(16, 3, pixels, pixels)] * 3
    assert not torch.equal(crops[0], crops[1])
    encoder = task.encoder().train()
    assert encoder(crops[0]).shape == encoder(task.views(batch.data)[0]).shape


def test_crops_leave_the_first_two_views_of_images(small: Callable[..., Images]) -> None:
    found = []
    for spec in ("swav", "swav(crops=2)", "dino(crops=2)"):
        method, loss = plugins.build("methods", spec), plugins.build("losses", "prototypes")
        task = small(network="resnet18", size=16, crop_size=8)
        outcome = fit(task, method, loss, Randomness("images", "", 0), splits=("validation",))
        found.append((outcome.start, outcome.ids, outcome.views))
    assert found[0] == found[1] == found[2]
    assert found[0][2]


@pytest.mark.parametrize("network", ["conv", "vit-tiny"])
def test_a_network_of_one_size_takes_no_smaller_crops(network: str) -> None:
    with pytest.raises(InputError, match=f"`crop_size` must be 0 for network='{network}'.*got 8"):
        Images(network=network, crop_size=8)


@pytest.mark.parametrize("noise", ["outliers", "noisy_views"])
def test_noisy_images_give_no_crops(noise: str) -> None:
    assert Images().more_views
    assert not Images(**{noise: 0.5}).more_views
