"""A distillation compared with transformers' Trainer and the same loss, in one run.

The teacher has the size of DistilBERT (66 million parameters), the student that of TinyBERT (14.5 million);
both have random weights, which does not change the time. Each contender trains in a process of its own, in
turn, with the same texts, batches of 64 and threads; both group texts of similar length. CPU time is that of
the training with its tokenisation, memory the peak of the process. The Trainer's loss is what its user
writes. Online, the teacher answers each batch; offline, its logits for all rows are there already. Ratios are
medians over the rounds.

    make bench-distill
    python -m bench.distillation --steps 30 --rounds 3 --threads 1
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from time import process_time
from typing import Any, Final

_BATCH: Final = 64
_TOKENS: Final = 4_096  #: of a batch in the teacher's pass
_EPOCHS: Final = 5
_ALPHA, _TEMPERATURE, _LEARNING_RATE, _SEED = 0.7, 3.0, 5e-5, 2025
_VOCABULARY: Final = 30_522
_KIB: Final = 1 if sys.platform == "darwin" else 1_024
_SHAPES: Final = {
    "teacher": {"hidden_size": 768, "num_hidden_layers": 6, "intermediate_size": 3_072},
    "student": {"hidden_size": 312, "num_hidden_layers": 4, "intermediate_size": 1_200},
}
_SPECIAL: Final = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one training."""

    cpu_seconds: float
    peak_bytes: int
    loss: float  #: of the last steps, for a look whether both have trained


def build(folder: Path, steps: int) -> None:
    """Write teacher/, student/ and rows.json."""
    import numpy as np
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    from redistill.demo.utterances import INTENTS, generate

    rows = generate(steps * _BATCH, shift=0.5, rng=np.random.default_rng(_SEED))
    labels = [INTENTS.index(row.label) for row in rows]
    (folder / "rows.json").write_text(json.dumps({"texts": [row.text for row in rows], "labels": labels}))
    words = sorted({word for row in rows for word in row.text.lower().split()})
    fillers = (f"[unused{number}]" for number in range(_VOCABULARY))
    names = dict.fromkeys([*_SPECIAL.values(), *words, *fillers])
    vocabulary = {name: number for number, name in zip(range(_VOCABULARY), names, strict=False)}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token=_SPECIAL["unk_token"]))
    plain.normalizer, plain.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    plain.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, model_max_length=128, **_SPECIAL)
    for name, shape in _SHAPES.items():
        torch.manual_seed(_SEED)
        config = BertConfig(
            **shape,
            vocab_size=_VOCABULARY,
            num_attention_heads=12,
            id2label=dict(enumerate(INTENTS)),
            label2id={label: number for number, label in enumerate(INTENTS)},
        )
        BertForSequenceClassification(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def redistill(folder: Path, rows: Mapping[str, Any], *, offline: bool) -> Callable[[], float]:
    import numpy as np

    from distill.training.archived import with_first
    from distill.training.dataset import TrainingSet
    from distill.training.schedule import Schedule
    from distill.training.train import train
    from monitor.cores import keep_freed_memory
    from monitor.scoring.models import load
    from monitor.stop import never_stopped

    keep_freed_memory()
    teacher, student = load(folder / "teacher"), load(folder / "student")
    data = TrainingSet(
        texts=tuple(rows["texts"]),
        labels=np.array(rows["labels"]),
        labelled=np.ones(len(rows["texts"]), dtype=np.bool_),
        known_logits=with_first(np.load(folder / "logits.npy"), None) if offline else None,
    )

    def work() -> float:
        log = train(
            student,
            teacher,
            data,
            Schedule(epochs=1, batch_size=_BATCH, learning_rate=_LEARNING_RATE, seed=_SEED),
            alpha=_ALPHA,
            temperature=_TEMPERATURE,
            stopped=never_stopped,
            progress=lambda *_: None,
        )
        return log.history[-1].loss

    return work


def teachers_pass(folder: Path, rows: Mapping[str, Any]) -> Callable[[], float]:
    import numpy as np

    from monitor.scoring.batches import score
    from monitor.scoring.models import load
    from monitor.stop import never_stopped

    teacher = load(folder / "teacher")

    def work() -> float:
        logits = score(
            teacher,
            rows["texts"],
            tokens_per_batch=_TOKENS,
            stopped=never_stopped,
            progress=lambda _done: None,
        )
        np.save(folder / "logits.npy", logits)
        return 0.0

    return work


def trainer(folder: Path, rows: Mapping[str, Any], *, offline: bool) -> Callable[[], float]:
    import numpy as np
    import torch
    from torch import Tensor
    from torch.nn import functional
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        PreTrainedModel,
        Trainer,
        TrainingArguments,
    )

    teacher = None
    if not offline:
        teacher = AutoModelForSequenceClassification.from_pretrained(folder / "teacher").eval()
    student = AutoModelForSequenceClassification.from_pretrained(folder / "student")
    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    losses: list[float] = []

    class Distiller(Trainer):
        def compute_loss(  # type: ignore[override]
            self, model: PreTrainedModel, inputs: dict[str, Tensor], *_: object, **__: object
        ) -> Tensor:
            labels, known = inputs.pop("labels"), inputs.pop("teacher_logits", None)
            with torch.inference_mode():
                wanted = known if teacher is None else teacher(**inputs).logits
            logits = model(**inputs).logits
            kl = functional.kl_div(
                functional.log_softmax(logits / _TEMPERATURE, dim=1),
                functional.log_softmax(wanted / _TEMPERATURE, dim=1),
                reduction="batchmean",
                log_target=True,
            )
            loss = _ALPHA * _TEMPERATURE**2 * kl + (1 - _ALPHA) * functional.cross_entropy(logits, labels)
            losses.append(loss.item())
            return loss

    def work() -> float:
        encoding = tokenizer(rows["texts"], truncation=True)
        data = [
            {**{name: values[index] for name, values in encoding.items()}, "labels": label}
            for index, label in enumerate(rows["labels"])
        ]
        if offline:
            for row, logits in zip(data, np.load(folder / "logits.npy").tolist(), strict=True):
                row["teacher_logits"] = logits
        arguments = TrainingArguments(
            output_dir=str(folder / "trainer"),
            per_device_train_batch_size=_BATCH,
            num_train_epochs=1,
            learning_rate=_LEARNING_RATE,
            weight_decay=0.01,
            warmup_steps=0.1,
            train_sampling_strategy="group_by_length",
            use_cpu=True,
            seed=_SEED,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        Distiller(
            model=student,
            args=arguments,
            train_dataset=data,
            data_collator=DataCollatorWithPadding(tokenizer),
        ).train()
        return losses[-1]

    return work


_ONCE: Final = "the teacher's pass"
#: In the order in which they run: the pass writes the logits of those that are offline.
CONTENDERS: Final[Mapping[str, Callable[[Path, Mapping[str, Any]], Callable[[], float]]]] = {
    _ONCE: teachers_pass,
    **{
        f"{name}, {'offline' if offline else 'online'}": partial(work, offline=offline)
        for offline in (False, True)
        for name, work in (("redistill", redistill), ("Trainer", trainer))
    },
}


def train_one(name: str, folder: Path, threads: int) -> None:
    """Train as one contender, and print its cost."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    work = CONTENDERS[name](folder, json.loads((folder / "rows.json").read_text()))
    began = process_time()
    loss = work()
    cost = {"cpu_seconds": process_time() - began, "peak_bytes": getrusage(RUSAGE_SELF).ru_maxrss * _KIB}
    print(json.dumps({**cost, "loss": loss}))


def cost_of(name: str, folder: Path, threads: int) -> Cost:
    command = [
        sys.executable,
        *("-m", "bench.distillation"),
        "--contender",
        name,
        "--folder",
        str(folder),
        "--threads",
        str(threads),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        sys.exit(f"{name} failed:\n{ended.stderr}")
    return Cost(**json.loads(ended.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.contender:
        train_one(wanted.contender, wanted.folder, wanted.threads)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(folder, wanted.steps)
        rounds = [
            {name: cost_of(name, folder, wanted.threads) for name in CONTENDERS} for _ in range(wanted.rounds)
        ]
    report(rounds, wanted.steps)


def report(rounds: list[dict[str, Cost]], steps: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "", "steps per CPU second", "as many as Trainer", "peak memory", "of Trainer's", "last loss"
    )
    for name in CONTENDERS:
        if name == _ONCE:
            continue
        peer_name = f"Trainer, {name.rpartition(' ')[2]}"
        costs, peers = [each[name] for each in rounds], [each[peer_name] for each in rounds]
        pairs = list(zip(costs, peers, strict=True))
        faster = sorted(peer.cpu_seconds / cost.cpu_seconds for cost, peer in pairs)
        larger = median(cost.peak_bytes / peer.peak_bytes for cost, peer in pairs)
        table.add_row(
            name,
            f"{median(steps / cost.cpu_seconds for cost in costs):.2f}",
            f"{median(faster):.2f} ({faster[0]:.2f} to {faster[-1]:.2f})",
            f"{median(cost.peak_bytes for cost in costs) / 2**20:,.0f} MiB",
            f"{larger:.2f}",
            f"{costs[-1].loss:.3f}",
        )
    console = Console(width=120)
    console.print(table)
    shares = median(_share_of_online(each, _EPOCHS) for each in rounds)
    console.print(f"{_EPOCHS} epochs offline, with the teacher's pass: {shares:.2f} of the CPU time online")


def _share_of_online(costs: Mapping[str, Cost], epochs: int) -> float:
    online, offline = (costs[f"redistill, {name}"].cpu_seconds for name in ("online", "offline"))
    return (costs[_ONCE].cpu_seconds + epochs * offline) / (epochs * online)


if __name__ == "__main__":
    main()
