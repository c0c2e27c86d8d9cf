"""What each source of videos is: its size, licence, where to ask for it, and what is not known of its layout."""

from dataclasses import dataclass

FORM = "granted on request, by a form that its page links to"
TERMS = "its owners' terms of use, which are accepted when asking for it"


@dataclass(frozen=True, slots=True)
class About:
    """Facts about a data set, as its owners state them unless said otherwise.

    Args:
        title: its name.
        videos: how many there are of which kind.
        space: space on disk.
        licence: terms in short; those of its owners count.
        place: address of its page.
        access: how to get it.
        split: the owners' division, for ``split=official``.
        unverified: what of its layout is known from other people's programs only.
    """

    title: str
    videos: str = ""
    space: str = ""
    licence: str = ""
    place: str = ""
    access: str = FORM
    split: str = "none"
    unverified: str = ""

    def lines(self) -> list[tuple[str, str]]:
        """Facts that are known, each with its name."""
        facts = {
            "videos": self.videos,
            "space": self.space,
            "licence": self.licence,
            "where": self.place,
            "access": self.access if self.place else "",
            "official split": self.split if self.place else "",
            "not verified": self.unverified,
        }
        return [(name, text) for name, text in facts.items() if text]


ABOUT = {
    "ffpp": About(
        "FaceForensics++ and DeepFakeDetection",
        "1,000 real, 5,000 fake of 5 methods; DeepFakeDetection: 363 real, 3,068 fake",
        "c23 about 8 GB, c40 about 1 GB, raw about 200 GB (stated for three methods)",
        TERMS,
        "https://github.com/ondyari/FaceForensics",
        f"{FORM}; copies: kaggle.com/datasets/xdxd003/ff-c23 and hungle3401/faceforensics",
        "train, val, test by pair; none for DeepFakeDetection",
        "the copy hungle3401/faceforensics: names seen in public programs; methods are not told apart",
    ),
    "dfdc": About(
        "Deepfake Detection Challenge",
        "23,654 real, 104,500 fake in 50 parts",
        "about 470 GB",
        TERMS,
        "https://ai.meta.com/datasets/dfdc",
        "an account there; single parts and train_sample_videos: kaggle.com/c/deepfake-detection-challenge",
        "the labelled test set, if it is there, and the parts as train",
        "labels.csv of the test set: columns seen in DeepfakeBench",
    ),
    "dfdcp": About(
        "Deepfake Detection Challenge, preview",
        "1,131 real, 4,119 fake of 2 methods",
        "",
        TERMS,
        "https://ai.meta.com/datasets/dfdc",
        "was given out by deepfakedetectionchallenge.ai",
        "train, test by dataset.json",
        "folders, names and dataset.json: seen in public programs, such as DeepfakeBench",
    ),
    "celebdf": About(
        "Celeb-DF v1, v2 and Celeb-DF++",
        "v1: 408 real, 795 fake; v2: 890 real, 5,639 fake; ++: the real videos of v2, fakes of 22 methods",
        "",
        TERMS,
        "https://github.com/yuezunli/celeb-deepfakeforensics and https://github.com/OUC-VAS/Celeb-DF-PP",
        split="test by List_of_testing_videos.txt, the rest train; some people are on both sides",
        unverified="names of talking faces in Celeb-DF++",
    ),
    "df40": About(
        "DF40",
        "40 methods on videos of FaceForensics++ and Celeb-DF, whose real videos go with it",
        "about 93 GB for testing and as much for training, frames cropped to the face",
        "CC BY-NC 4.0",
        "https://github.com/YZY-stack/DF40",
        split="DF40_train: train, DF40: test",
        unverified="folders below a method differ; ff, cdf, frames, videos, fake and real are read, as seen in its "
        "repository and in public programs. Single pictures (whole faces made by a generator) are left out",
    ),
    "fakeavceleb": About(
        "FakeAVCeleb 1.2",
        "500 real, about 20,500 with a fake picture, 500 with a fake voice alone (left out)",
        "",
        TERMS,
        "https://github.com/DASH-Lab/FakeAVCeleb",
        unverified="meta_data.csv and file names: seen in public programs",
    ),
    "deeperforensics": About(
        "DeeperForensics-1.0",
        "11,000 fake: 1,000 in 11 variants; real videos are those of FaceForensics++ (c23)",
        "119 GB, with the actors' own videos 284 GB",
        TERMS,
        "https://github.com/EndlessSora/DeeperForensics-1.0",
        split="train, val, test by lists/splits",
        unverified="depth of the folders of the actors' own videos",
    ),
    "ffiw": About(
        "FFIW-10K, Face Forensics in the Wild",
        "10,000 real, 10,000 fake, often with several faces",
        "",
        TERMS,
        "https://github.com/tfzhou/FFIW",
        split="train, val (test, where given out) by folder",
        unverified="whether target videos are made of the source videos of the same name; both stay on one side",
    ),
    "wilddeepfake": About(
        "WildDeepfake",
        "3,805 real, 3,509 fake sequences of face pictures",
        "",
        TERMS,
        "https://github.com/OpenTAI/wild-deepfake",
        f"{FORM}; then huggingface.co/datasets/xingjunm/WildDeepfake",
        "train, test by folder",
        "archives: contents seen in public programs; whether one archive is one person",
    ),
    "deepspeak": About(
        "DeepSpeak 1.1 and 2.0",
        "1.1: 6,667 real, 6,796 fake; 2.0: 9,376 real, 7,209 fake",
        "2.0 about 125 GB",
        "its own licence: free for academic institutions, else for a fee",
        "https://huggingface.co/datasets/faridlab/deepspeak_v2",
        "granted there; 1.1: faridlab/deepspeak_v1_1",
        "train, test by person, from annotations-split-def.csv",
        "folders of the archives; annotations-real.csv; whether the two releases number the same people alike",
    ),
    "avdeepfake1m": About(
        "AV-Deepfake1M and AV-Deepfake1M++",
        "over 1 million and about 2 million, of which about a quarter is fake in its sound alone (left out)",
        "",
        "an agreement to sign (EULA)",
        "https://github.com/ControlNet/AV-Deepfake1M",
        "sign the agreement; then huggingface.co/datasets/ControlNet/AV-Deepfake1M-PlusPlus",
        "train, val by folder; the labels of test are not published",
        "folders of the corpora in the plus-plus release: seen in public programs; people of LRS3",
    ),
    "kodf": About(
        "KoDF, Korean deepfake detection data set",
        "62,166 real, 175,776 fake of 6 methods, 403 people",
        "",
        TERMS,
        "https://github.com/deepbrainai-research/kodf",
        f"{FORM}; in Korea: aihub.or.kr, whose folders are named otherwise and are not read",
        unverified="folders and names: seen in public programs; clips with adversarial noise",
    ),
    "folder": About("your own videos in real/ and fake/"),
    "stills": About("your own photographs of real faces, a folder for each person"),
}
"""By the name that ``source=`` takes."""
