"""Miniatures of the public data sets: their exact folders, names and lists, and few videos.

``film(path, people, fake)`` writes each video. ``people`` are who is to be seen, as source ids name them; of a fake,
the first is the person of the video that was altered and the second whose face was put in. A film that draws the same
people alike makes a fake look like its original.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

Film = Callable[[Path, tuple[str, ...], bool], None]

FFPP_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "FaceShifter", "NeuralTextures")


def blank(path: Path, people: tuple[str, ...], fake: bool) -> None:
    """A film for those who only list files."""
    path.write_bytes(b"")


def make_ffpp(
    root: Path,
    film: Film = blank,
    *,
    num_people: int = 8,
    methods: Sequence[str] = (*FFPP_METHODS, "DeepFakeDetection"),
    compression: str = "c23",
    lists: str | None = "splits",
) -> Path:
    """FaceForensics++ in ``root``: 8 originals in pairs, 5 methods with 8 fakes each, and the same of 8 actors.

    People 000 and 001, 002 and 003 ... were swapped both ways. The official lists, in the folder ``lists``, give the
    last pair to test, the one before to val and the others to train. Deepfakes also has masks, which are no videos.
    """
    pairs = [(number, number + 1) for number in range(0, num_people, 2)]
    swaps = [swap for a, b in pairs for swap in ((a, b), (b, a))]
    ends = f"{compression}/videos"

    def shoot(name: str, people: tuple[str, ...]) -> None:
        _shoot(film, root / name, people, fake=len(people) > 1)

    for number in range(num_people):
        shoot(f"original_sequences/youtube/{ends}/{number:03}.mp4", (f"ffpp:{number:03}",))
    for method in methods:
        folder = f"manipulated_sequences/{method}/{ends}"
        if method == "DeepFakeDetection":
            for a, b in [(a + 1, b + 1) for a, b in swaps]:
                code = _letters(f"{a} {b}", 8).upper()
                shoot(f"original_sequences/actors/{ends}/{a:02}__exit_phone_room.mp4", (f"dfd:{a:02}",))
                shoot(f"{folder}/{a:02}_{b:02}__exit_phone_room__{code}.mp4", (f"dfd:{a:02}", f"dfd:{b:02}"))
            continue
        for a, b in swaps:
            shoot(f"{folder}/{a:03}_{b:03}.mp4", (f"ffpp:{a:03}", f"ffpp:{b:03}"))
    if "Deepfakes" in methods:
        _shoot(blank, root / "manipulated_sequences/Deepfakes/masks/videos/000_001.mp4", (), fake=True)
    if lists is not None:
        ids = [[f"{a:03}", f"{b:03}"] for a, b in pairs]
        (root / lists).mkdir(parents=True, exist_ok=True)
        for name, part in {"train": ids[:-2], "val": ids[-2:-1], "test": ids[-1:]}.items():
            (root / lists / f"{name}.json").write_text(json.dumps(part, indent=2))
    return root


def make_dfdc(
    root: Path,
    film: Film = blank,
    *,
    num_parts: int = 2,
    people_per_part: int = 4,
    fakes_each: int = 1,
    num_audio_only: int = 0,
) -> Path:
    """DFDC in ``root``: 2 parts with 4 real videos each, and a fake of each in the same part.

    The first ``num_audio_only`` fakes are FAKE by their sound alone: they are filmed like their original.
    """
    num_fakes = 0
    for part in range(num_parts):
        folder = root / f"dfdc_train_part_{part}"
        metadata = {}
        for number in range(people_per_part):
            stem = _letters(f"real {part} {number}")
            person = f"dfdc:{stem}"
            _shoot(film, folder / f"{stem}.mp4", (person,), fake=False)
            metadata[f"{stem}.mp4"] = {"label": "REAL", "split": "train", "original": None}
            for fake in range(fakes_each):
                name = f"{_letters(f'fake {part} {number} {fake}')}.mp4"
                donor = f"dfdc:{_letters(f'real {part} {(number + 1) % people_per_part}')}"
                altered = num_fakes >= num_audio_only
                _shoot(film, folder / name, (person, donor) if altered else (person,), fake=altered)
                metadata[name] = {"label": "FAKE", "split": "train", "original": f"{stem}.mp4"}
                num_fakes += 1
        (folder / "metadata.json").write_text(json.dumps(metadata))
    return root


def make_celebdf(root: Path, film: Film = blank, *, num_people: int = 8, videos_each: int = 1) -> Path:
    """Celeb-DF in ``root``: a video of each of 8 people and a fake of it, and 4 videos of people who are in no fake.

    id0 and id1, id2 and id3 ... were swapped both ways. The list of testing videos names those of the last pair and the
    last of ``YouTube-real``.
    """
    tested = []

    def shoot(name: str, people: tuple[str, ...], *, test: bool) -> None:
        fake = len(people) > 1
        _shoot(film, root / name, people, fake=fake)
        if test:
            tested.append(f"{0 if fake else 1} {name}")

    for person in range(num_people):
        other, test = person ^ 1, person >= num_people - 2
        for number in range(videos_each):
            shoot(f"Celeb-real/id{person}_{number:04}.mp4", (f"celebdf:id{person}",), test=test)
            people = (f"celebdf:id{person}", f"celebdf:id{other}")
            shoot(f"Celeb-synthesis/id{person}_id{other}_{number:04}.mp4", people, test=test)
    num_youtube = num_people // 2
    for number in range(num_youtube):
        name = f"YouTube-real/{number:05}.mp4"
        shoot(name, (f"celebdf:youtube:{number:05}",), test=number == num_youtube - 1)
    (root / "List_of_testing_videos.txt").write_text("\n".join(tested) + "\n")
    return root


def _shoot(film: Film, path: Path, people: tuple[str, ...], *, fake: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    film(path, people, fake)


def _letters(seed: str, length: int = 10) -> str:
    """Ten letters, as DFDC names its files."""
    digest = hashlib.sha256(seed.encode()).digest()
    return "".join(chr(ord("a") + byte % 26) for byte in digest[:length])
