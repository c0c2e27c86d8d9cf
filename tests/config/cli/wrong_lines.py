"""Command lines that are wrong in one place each: what people type, made from the options that there are."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dfd.config.cli.declared import Declared, leaf
from dfd.config.cli.kinds import Kind, Kinds
from dfd.config.schemas import SCHEMAS

# What each command needs besides; the names are those of files that the test makes.
NEEDED = {
    "predict": ["input=clip.mp4", "checkpoint=starter"],
    "train": ["data=clips", "data.store=store"],
    "preprocess": ["manifest=videos.csv", "store=new"],
    "evaluate": ["checkpoint=starter", "data.store=store"],
    "calibrate": ["checkpoint=starter", "data.store=store"],
    "export": ["checkpoint=starter"],
}
CHOICES = {command: {"data": "clips"} if command == "train" else {} for command in NEEDED}


@dataclass(frozen=True)
class Wrong:
    """A command line, the key that its refusal has to name, and the only word that may be meant (None: no claim)."""

    kind: str
    command: str
    words: tuple[str, ...]
    names: str
    meant: str | None = None


def keys(command: str, *kinds: Kind) -> list[str]:
    """Its options of these kinds, those without values of their own."""
    known = Kinds(Declared(command), SCHEMAS[command])
    every = [option.key for option in known.declared.options(CHOICES[command])]
    leaves = [key for key in every if not any(other.startswith(f"{key}.") for other in every)]
    return [key for key in leaves if not kinds or known.of(key, CHOICES[command]) in kinds]


def misspelt(word: str, draw: random.Random) -> str:
    """With a letter too many, too few, or two in each other's place."""
    place = draw.randrange(1, len(word) - 1)
    ways = [
        word[:place] + word[place + 1 :],
        word[:place] + word[place] + word[place:],
        word[: place - 1] + word[place] + word[place - 1] + word[place + 1 :],
    ]
    return draw.choice([way for way in ways if way != word] or [word + "s"])


def _line(kind: str, command: str, *words: str, names: str, meant: str | None = None) -> Wrong:
    given = {word.partition("=")[0].lstrip("+~") for word in words}
    needed = [word for word in NEEDED[command] if word.partition("=")[0] not in given]
    return Wrong(kind, command, (*needed, *words), names, meant)


def misspelt_keys(draw: random.Random) -> Iterator[Wrong]:
    for command in NEEDED:
        known = keys(command)
        for key in draw.sample(known, min(9, len(known))):
            if len(leaf(key)) < 5:
                continue
            wrong = key.removesuffix(leaf(key)) + misspelt(leaf(key), draw)
            if wrong not in known:
                yield _line("misspelt key", command, f"{wrong}=1", names=wrong, meant=key)


def misspelt_options(draw: random.Random) -> Iterator[Wrong]:
    for command in NEEDED:
        known = keys(command)
        for key in draw.sample(known, min(7, len(known))):
            if len(leaf(key)) < 6:
                continue
            wrong = "--" + (key.removesuffix(leaf(key)) + misspelt(leaf(key), draw)).replace("_", "-")
            yield _line("misspelt option", command, wrong, "1", names=wrong, meant=key)


def misspelt_choices(draw: random.Random) -> Iterator[Wrong]:
    for command in NEEDED:
        for name, group in Declared(command).groups.items():
            for choice in draw.sample([*group.choices], min(3, len(group.choices))):
                if len(choice) > 4 and (wrong := misspelt(choice, draw)) not in group.choices:
                    kind = draw.choice([[f"{name}={wrong}"], [f"--{name.replace('_', '-')}", wrong]])
                    yield _line("misspelt choice", command, *kind, names=wrong, meant=f"{name}={choice}")


def wrong_types(draw: random.Random) -> Iterator[Wrong]:
    wrong = {Kind.WHOLE: ["many", "2.5", "[1,2]", "''"], Kind.NUMBER: ["high", "true", "[]"], Kind.FLAG: ["maybe", "7"]}
    for command in NEEDED:
        for kind, values in wrong.items():
            known = keys(command, kind)
            for key in draw.sample(known, min(3, len(known))):
                yield _line("wrong type", command, f"{key}={draw.choice(values)}", names=key)
        for key in keys(command, Kind.LIST):
            yield _line("wrong type", command, f"{key}=some", names=key)


def unquoted_signs(draw: random.Random) -> Iterator[Wrong]:
    values = ["a(1).mp4", "a[1].mp4", "it's", 'say "x', "{a", "a)b", "x{1}.csv", "a(b)(c)", "[a", "f(x", "a=b(c)d"]
    for command in NEEDED:
        for key in keys(command, Kind.TEXT, Kind.PATHS):
            for value in draw.sample(values, 2):
                yield _line("unquoted sign", command, f"{key}={value}", names=key, meant=key)


def missing_groups(draw: random.Random) -> Iterator[Wrong]:
    for key in ("threshold", "min_face_fraction", "weights", "x1", "nms_threshold", "batch_size"):
        yield _line("missing group", "predict", f"face_detector.{key}=1", names="face_detector")
    for key in ("compression", "methods", "parts_apart", "dataset"):
        yield _line("missing group", "preprocess", f"source.{key}=1", names="source")
    for key in ("project", "name", "group", "offline"):
        yield _line("missing group", "train", f"logger.wandb.{key}=x", names="logger")
    for word in (
        "backbone.name=resnet10t",
        "backbone.input_size=224",
        "scheduler.final_fraction=0.1",
        "temporal.width=8",
    ):
        yield _line("missing group", "train", word, names=word.partition("=")[0])
    for command in ("predict", "evaluate", "export"):
        for word in ("backbone=resnext50", "optimizer=adam"):
            yield _line("missing group", command, word, names=word.partition("=")[0])


def trainer_keys(draw: random.Random) -> Iterator[Wrong]:
    known = (
        "fast_dev_run=1",
        "max_steps=5",
        "limit_train_batches=0.1",
        "limit_val_batches=1",
        "val_check_interval=0.5",
    )
    known += ("profiler=simple", "benchmark=true", "detect_anomaly=true", "overfit_batches=2", "min_epochs=2")
    known += ("check_val_every_n_epoch=2", "gradient_clip_algorithm=norm", "inference_mode=false", "barebones=true")
    for word in known:
        yield _line(
            "trainer key", "train", f"trainer.{word}", names=f"trainer.{word.partition('=')[0]}", meant="trainer"
        )
    for word in ("max_epoch=3", "precison=16", "devces=2", "acelerator=cpu"):
        right = {"max": "max_epochs", "pre": "precision", "dev": "devices", "ace": "accelerator"}[word[:3]]
        yield _line("trainer key", "train", f"trainer.{word}", names=word.partition("=")[0], meant=f"trainer.{right}")
    for word in ("foo=1", "gpus=2", "weights_summary=top", "auto_lr_find=true"):
        yield _line("trainer key", "train", f"trainer.{word}", names=f"trainer.{word.partition('=')[0]}")


def missing_loggers(draw: random.Random) -> Iterator[Wrong]:
    for package, name in (("mlflow", "MLFlowLogger"), ("comet", "CometLogger"), ("neptune", "NeptuneLogger")):
        for number in range(7):
            more = draw.sample(["seed=1", "tags=[a]", "dropout=0.1", "optimizer=sgd", "temporal=mean"], number % 3)
            target = f"+logger.{package}={{_target_: lightning.pytorch.loggers.{name}}}"
            yield _line("missing logger", "train", target, *more, names=package)


def missing_files(draw: random.Random) -> Iterator[Wrong]:
    for command in ("predict", "evaluate", "calibrate", "export"):
        for value in ("starer", "startr", "gone.ckpt", "no/such/detector.safetensors"):
            meant = "checkpoint=starter" if value.startswith("sta") else None
            yield _line("missing file", command, f"checkpoint={value}", names="checkpoint", meant=meant)
    for value, meant in (("clpi.mp4", "input=clip.mp4"), ("gone.mp4", None), ("no/where", None)):
        yield _line("missing file", "predict", f"input={value}", names="input", meant=meant)
    for value, meant in (("vidoes.csv", "manifest=videos.csv"), ("gone.csv", None)):
        yield _line("missing file", "preprocess", f"manifest={value}", names="manifest", meant=meant)
    for command in ("train", "evaluate", "calibrate"):
        yield _line("missing file", command, "data.store=gone", names="data.store")
    yield _line("missing file", "train", "ckpt_path=gone.ckpt", names="ckpt_path")
    for command in NEEDED:
        yield _line("missing file", command, "--config-dir", "gone", names="--config-dir")


def wrong_forms(draw: random.Random) -> Iterator[Wrong]:
    for command in NEEDED:
        defaults = {option.key: option.default for option in Declared(command).options(CHOICES[command])}
        numbers = keys(command, Kind.WHOLE, Kind.NUMBER)
        for key in draw.sample(numbers, min(2, len(numbers))):
            if defaults[key] != "null":
                yield _line("plus of what is there", command, f"+{key}=1", names=key, meant=key)
            yield _line("sweep without -m", command, f"{key}=1,2", names=key, meant=key)
            yield _line("empty value", command, f"{key}=", names=key)
        yield _line("minus of what is not there", command, "~nothing.of_this", names="nothing.of_this")
        for name in Declared(command).groups:
            yield _line("empty value", command, f"{name}=", names=name)


MAKERS: tuple[Callable[[random.Random], Iterator[Wrong]], ...] = (
    *(misspelt_keys, misspelt_options, misspelt_choices, wrong_types, unquoted_signs, missing_groups),
    *(trainer_keys, missing_loggers, missing_files, wrong_forms),
)


def wrong_lines() -> dict[str, list[Wrong]]:
    """All of them, by the name of what makes them; the same in every run."""
    return {maker.__name__: [*maker(random.Random(maker.__name__))] for maker in MAKERS}
