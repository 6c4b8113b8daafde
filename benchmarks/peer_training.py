"""Other libraries' training loops on our tasks' data, to compare our cells with.

Each trains with the settings of the task (steps, batch size, AdamW's rate and decay, width
and weights at the start, temperature) in the way its library shows, calls ``ended`` after
every step, and returns the trained encoder, to be scored by the task's own evaluation.

- ``lightly``: its SimCLRTransform and NTXentLoss, fed by its dataset and torch's loader
  without worker processes: one core, as ours. The transform works on one PIL image at a
  time through torchvision, with a crop and a rotation as in our views. Flips, colours and
  blur are off, as they would hide a digit's class. It has no shear and no erasing.
- ``sentence-transformers``: SentenceTransformerTrainer with MultipleNegativesRankingLoss
  on pairs of a sentence with itself, its own tokenizing at each step, SimCSE's head as a
  Dense module, its schedule and clipping switched off.
- ``PyGCL``: the loop of its GRACE example, with its augmentors and its InfoNCE between and
  within views, on PyG's GCNConv and dense features. It keeps an anchor among its own
  negatives (see docs/parity.md), which changes its loss but hardly its gradient.

torchvision comes as a CUDA build; ``peers`` replaces the part of it that a CPU torch cannot
load. PyGCL imports torch_sparse and dgl, which are not used here; empty modules replace them.
"""

import importlib
import tempfile
import threading
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import peers
import torch
from torch import Tensor, nn

from harness import plugins
from harness.core.randomness import Randomness
from harness.task import Task
from harness.testing import fresh_head, scores_of

SPECIAL = ("pad", "unk", "cls", "sep", "mask")
"""MiniLM's special tokens: ``[PAD]`` and so on."""

Train = Callable[[Any, float, Callable[[], None]], nn.Module]
"""(loaded task, temperature, function to call after each step) -> trained encoder."""


class InTurn:
    """A training in a thread of its own, which runs only while the caller waits for a step.

    Attributes:
        error: the exception that it ended with, if it failed.
    """

    def __init__(self, train: Train, name: str, seed: int, tau: float) -> None:
        self.error: BaseException | None = None
        self.task: Task = plugins.build("tasks", name)
        self.randomness = Randomness(name, "", seed)
        self.task.load(self.randomness)
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run, args=(train, tau), daemon=True)
        self.thread.start()

    def _run(self, train: Train, tau: float) -> None:
        self.go.acquire()
        torch.set_num_threads(1)  # The setting belongs to the calling thread.
        torch.manual_seed(self.randomness.seed("init"))
        try:
            self.encoder = train(self.task, tau, self._ended)
        except BaseException as error:
            self.error = error
        self.done.release()

    def _ended(self) -> None:
        self.done.release()
        self.go.acquire()

    def take_step(self) -> None:
        """Let the thread run to the end of its next step."""
        if self.error is None:
            self.go.release()
            self.done.acquire()

    def score(self) -> Mapping[str, float]:
        """Let the thread end after its last step, and return the encoder's test scores."""
        self.take_step()
        with self.randomness.seeded("probe"):
            return scores_of(self.task, self.encoder.eval(), "test")


def lightly_simclr(task: Any, tau: float, ended: Callable[[], None]) -> nn.Module:
    """Train the image task's encoder as lightly's SimCLR example does."""
    from lightly.data import LightlyDataset
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform
    from torchvision.transforms.functional import to_pil_image

    transform = SimCLRTransform(
        input_size=28, min_scale=0.4, rr_prob=0.8, rr_degrees=15,
        cj_prob=0, random_gray_scale=0, gaussian_blur=0, hf_prob=0, normalize=None,
    )  # fmt: skip
    pixels = task.batch(torch.arange(task.train_size())).data
    images = _Images([to_pil_image(image) for image in pixels])
    loader = torch.utils.data.DataLoader(
        LightlyDataset.from_torch_dataset(images, transform=transform),
        batch_size=task.batch_size,
        shuffle=True,
        drop_last=True,
    )
    encoder, head, criterion = task.encoder().train(), fresh_head(task), NTXentLoss(temperature=tau)
    optimizer = task.make_optimizer([{"params": [*encoder.parameters(), *head.parameters()]}])
    epochs = (batch for _ in cycle([0]) for batch in loader)
    for (first, second), _, _ in islice(epochs, task.steps):
        loss = criterion(head(encoder(first)), head(encoder(second)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        ended()
    return encoder


class _Images(torch.utils.data.Dataset[Any]):
    """PIL images with a label each, transformed on access as in torchvision's data sets."""

    def __init__(self, images: list[Any]) -> None:
        self.images = images
        self.transform: Callable[[Any], Any] = lambda image: image

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        return self.transform(self.images[number]), 0


def sentence_transformers_trainer(task: Any, tau: float, ended: Callable[[], None]) -> nn.Module:
    """Train MiniLM's first layers with sentence-transformers' trainer."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.models import Dense, Pooling, Transformer
    from transformers import PreTrainedTokenizerFast, TrainerCallback

    from adapters.data import hf_folders
    from adapters.networks import text_networks
    from tasks.sentences.sentences import QUICK_LAYERS

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ended()

    with tempfile.TemporaryDirectory() as folder:
        whole = text_networks.minilm(layers=QUICK_LAYERS, dropout=task.dropout, pooling="mean")
        whole.model.set_attn_implementation("sdpa")
        whole.model.save_pretrained(folder)
        special = {f"{name}_token": f"[{name.upper()}]" for name in SPECIAL}
        tokenizer = hf_folders.tokenizer()
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
        transformer = Transformer(folder, max_seq_length=task.length)
        pooling = Pooling(whole.model.config.hidden_size, "mean")
        dense = Dense(whole.model.config.hidden_size, whole.model.config.hidden_size)
        dense.linear.load_state_dict(fresh_head(task)[0].state_dict())
        model = SentenceTransformer(modules=[transformer, pooling, dense], device="cpu")
        sentences = [sentence for (sentence,) in task.splits()[0]["train"]]
        SentenceTransformerTrainer(
            model=model,
            train_dataset=Dataset.from_dict({"anchor": sentences, "positive": sentences}),
            loss=peers.sentence_transformers().MultipleNegativesRankingLoss(model, scale=1 / tau),
            callbacks=[Watch()],
            args=SentenceTransformerTrainingArguments(
                output_dir=str(Path(folder) / "out"),
                max_steps=task.steps,
                per_device_train_batch_size=task.batch_size,
                learning_rate=task.learning_rate,
                weight_decay=task.weight_decay,
                lr_scheduler_type="constant",
                max_grad_norm=0,
                optim="adamw_torch_fused",
                seed=torch.initial_seed() % 2**31,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
        ).train()
    return _Pooled(transformer, pooling)


class _Pooled(nn.Module):
    """A transformer and its pooling, as an encoder of our tokens."""

    def __init__(self, transformer: nn.Module, pooling: nn.Module) -> None:
        super().__init__()
        self.transformer, self.pooling = transformer, pooling

    def forward(self, tokens: Any) -> Tensor:
        features = {"input_ids": tokens.ids, "attention_mask": tokens.mask}
        embedding: Tensor = self.pooling(self.transformer(features))["sentence_embedding"]
        return embedding


def pygcl_grace(task: Any, tau: float, ended: Callable[[], None]) -> nn.Module:
    """Train the node task's encoder as PyGCL's GRACE example does."""
    gcl = peers.pygcl()
    peers.empty("torch_sparse", SparseTensor=None, coalesce=None)
    peers.empty("dgl", DGLGraph=None)
    augment = importlib.import_module("GCL.augmentors")
    views = [
        augment.Compose([augment.EdgeRemoving(pe=edges), augment.FeatureMasking(pf=features)])
        for edges, features in (
            (task.drop_edges_1, task.mask_features_1),
            (task.drop_edges_2, task.mask_features_2),
        )
    ]
    contrast = gcl.DualBranchContrast(loss=gcl.InfoNCE(tau=tau), mode="L2L", intraview_negs=True)
    graph = task.batch(torch.arange(task.train_size())).data
    x, edges = graph.x.to_dense(), graph.edges
    encoder, head = _Convolutions(task.encoder()).train(), fresh_head(task)
    optimizer = task.make_optimizer([{"params": [*encoder.parameters(), *head.parameters()]}])
    for _ in range(task.steps):
        optimizer.zero_grad()
        first, second = (head(encoder.of(*view(x, edges)[:2])) for view in views)
        loss = contrast(h1=first, h2=second)
        loss.backward()
        optimizer.step()
        ended()
    return encoder


class _Convolutions(nn.Module):
    """The node task's layers as PyG runs them: a GCNConv at a time, edge by edge."""

    def __init__(self, gcn: Any) -> None:
        super().__init__()
        self.layers, self.activations = gcn.layers, gcn.activations

    def of(self, x: Tensor, edges: Tensor) -> Tensor:
        """Return one representation a node."""
        for layer, activation in zip(self.layers, self.activations, strict=True):
            x = activation(layer(x, edges))
        return x

    def forward(self, graph: Any) -> Tensor:
        return self.of(graph.x.to_dense(), graph.edges)


PEERS: dict[str, tuple[str, Train]] = {
    "images": ("lightly", lightly_simclr),
    "sentences": ("sentence-transformers", sentence_transformers_trainer),
    "nodes": ("PyGCL", pygcl_grace),
}
