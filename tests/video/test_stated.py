"""What a file states about its own making: read, bounded, and never taken for more."""

import datetime
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from dfd.base.types import FileFacts
from dfd.faces.detect import build_detector
from dfd.faces.extract import ExtractionSettings
from dfd.faces.found import WindowSettings
from dfd.scoring.look.stream import stream_windows
from dfd.video.file.credentials import (
    FITS,
    NOT_CHECKED,
    TRUST_VARIABLE,
    TRUSTED,
    UNKNOWN,
    UNTRUSTED,
    has_credentials,
    read_credentials,
)
from dfd.video.file.probe import probe
from dfd.video.file.stated import MAX_TEXT, bounded_text, stated_by_still, stated_by_video

PICTURE = np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)


def film(path: Path, *, sound: bool = False, **metadata: str) -> Path:
    """A second of one picture, with these texts in its container."""
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update({name.replace("__", "."): text for name, text in metadata.items()})
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        tone = container.add_stream("aac", rate=48_000, layout="stereo") if sound else None
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(PICTURE, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        if tone is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
            silence.sample_rate, silence.pts, silence.time_base = 48_000, 0, Fraction(1, 48_000)
            container.mux(tone.encode(silence))
            container.mux(tone.encode(None))
        container.mux(video.encode(None))
    return path


def stated(path: Path) -> dict[str, str]:
    return stated_by_video(path, probe(path))


def test_a_phone_s_statements_are_read(tmp_path: Path) -> None:
    made = {"make": "Apple", "model": "iPhone 12", "software": "17.2", "creationdate": "2024-05-03T10:11:12+0200"}
    path = film(tmp_path / "a.mov", **{f"com__apple__quicktime__{name}": text for name, text in made.items()})
    found = stated(path)
    assert found["camera"] == "Apple iPhone 12"
    assert found["software"] == "17.2"
    assert found["created"] == "2024-05-03T10:11:12+0200"
    assert found["encoder"].startswith("x264 - core ")
    assert "Lavf" in found["encoder"]


@pytest.mark.parametrize(("sound", "expected"), [(False, "none"), (True, "aac, 2 channels, 48000 Hz")])
def test_sound_is_told_and_so_is_silence(tmp_path: Path, sound: bool, expected: str) -> None:
    assert stated(film(tmp_path / "a.mp4", sound=sound))["sound"] == expected


def test_a_clock_that_was_never_set_states_no_time(tmp_path: Path) -> None:
    assert "created" not in stated(film(tmp_path / "a.mp4", creation_time="1970-01-01T00:00:00.000000Z"))
    found = stated(film(tmp_path / "b.mp4", creation_time="2021-02-03T04:05:06.000000Z"))
    assert found["created"].startswith("2021-02-03T04:05:06")


def test_what_strangers_write_is_one_short_visible_line(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\n\r\x1b[2J\u202egpj.exe\u2066" + "x" * 5000
    found = stated(film(tmp_path / "a.mov", com__apple__quicktime__software=hostile))["software"]
    assert len(found) <= MAX_TEXT
    assert found.isprintable()
    assert bounded_text(hostile) == found
    assert bounded_text("\x00\x01") == "??"


def test_what_cannot_be_opened_states_nothing(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    info = probe(path)
    path.write_bytes(path.read_bytes()[:100])
    assert stated_by_video(path, info) == {}
    path.unlink()
    assert stated_by_video(path, info) == {}


def test_a_photograph_s_exif_data_is_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131], exif[0x0112] = "Canon", "Canon EOS 5D", "Adobe Photoshop 25", 6
    exif.get_ifd(0x8769)[0x9003] = "2023:04:05 06:07:08"
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg", exif=exif)
    assert stated_by_still(tmp_path / "a.jpg") == {
        "software": "Adobe Photoshop 25",
        "created": "2023:04:05 06:07:08",
        "camera": "Canon EOS 5D",
        "rotation": "90 degrees",
    }
    Image.fromarray(PICTURE).save(tmp_path / "b.png")
    assert stated_by_still(tmp_path / "b.png") == {}


@cache
def certificate() -> tuple[bytes, bytes]:
    """A chain and a key that may sign, of an authority that nobody knows."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def name(common: str) -> x509.Name:
        oids = x509.NameOID
        parts = [(oids.COMMON_NAME, common), (oids.ORGANIZATION_NAME, "An Unknown Press"), (oids.COUNTRY_NAME, "NL")]
        return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])

    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    authority, signer = name("An Unknown Authority"), name("A Photographer")
    made = []
    for subject, key, is_authority in ((authority, keys[0], True), (signer, keys[1], False)):
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        usage |= {"decipher_only": False, "digital_signature": not is_authority}
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(x509.KeyUsage(**usage, key_cert_sign=is_authority, crl_sign=is_authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
        )
        if not is_authority:
            usages = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(usages, critical=False)
        made.append(builder.sign(keys[0], hashes.SHA256()))
    pem = serialization.Encoding.PEM
    private = keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made[1].public_bytes(pem) + made[0].public_bytes(pem), private


def signed(source: Path, target: Path, kind: str) -> Path:
    """The file with Content Credentials."""
    c2pa = pytest.importorskip("c2pa", reason="pip install 'dfd[credentials]'")
    chain, key = certificate()
    info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=chain, private_key=key, ta_url=None)
    action = {
        "action": "c2pa.created",
        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
    }
    manifest = {
        "claim_generator_info": [{"name": "Test camera", "version": "1.0"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    with (
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder(manifest) as builder,
        source.open("rb") as original,
        target.open("w+b") as written,
    ):
        builder.sign(signer, kind, original, written)
    return target


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.mp4"])
def test_content_credentials_are_seen_without_a_library_and_checked_with_it(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / f"plain-{name}"
    if name.endswith("mp4"):
        film(plain)
    else:
        Image.fromarray(PICTURE).save(plain)
    assert not has_credentials(plain)
    assert read_credentials(plain) == {}
    kinds = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "mp4": "video/mp4"}
    path = signed(plain, tmp_path / name, kinds[name.partition(".")[2]])
    assert has_credentials(path)
    found = read_credentials(path)
    assert found["content_credentials"] == f"{FITS}; {UNKNOWN}"
    assert "An Unknown Press" in found["signed_by"]
    assert found["claimed_by"].startswith("Test camera")
    assert (stated(path) if name == "a.mp4" else stated_by_still(path)).items() >= found.items()
    content = bytearray(path.read_bytes())
    place = content.rindex(b"mdat") + 500 if name == "a.mp4" else len(content) - 40
    content[place] ^= 0xFF
    path.write_bytes(content)
    assert "do not fit the file" in read_credentials(path)["content_credentials"]
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert read_credentials(path) == {"content_credentials": NOT_CHECKED}


def test_a_signer_is_trusted_by_a_list_of_one_s_own_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg")
    path = signed(tmp_path / "a.jpg", tmp_path / "b.jpg", "image/jpeg")
    begin = b"-----BEGIN CERTIFICATE-----"
    ours = begin + certificate()[0].split(begin)[-1]
    certificate.cache_clear()
    theirs = begin + certificate()[0].split(begin)[-1]
    trust_list = tmp_path / "trust.pem"
    monkeypatch.setenv(TRUST_VARIABLE, str(trust_list))
    for content, said in ((ours, TRUSTED), (theirs, UNTRUSTED)):
        trust_list.write_bytes(content)
        assert read_credentials(path)["content_credentials"] == f"{FITS}; {said}"
    trust_list.unlink()
    assert "the trust list trust.pem cannot be read" in read_credentials(path)["content_credentials"]


def test_a_damaged_manifest_is_said_to_be_unreadable(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg")
    path = signed(tmp_path / "a.jpg", tmp_path / "b.jpg", "image/jpeg")
    content = path.read_bytes()
    place = content.index(b"c2pa")
    path.write_bytes(content[: place + 30] + bytes(200) + content[place + 230 :])
    assert has_credentials(path)
    assert "cannot be read" in read_credentials(path)["content_credentials"]


def test_a_scored_file_s_facts_hold_its_statements(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", sound=True)
    Image.fromarray(PICTURE).save(tmp_path / "b.png")
    detector, settings = build_detector("fixed_box"), WindowSettings(clip_len=1, max_windows=1)
    for name, expected in (("a.mp4", "aac, 2 channels, 48000 Hz"), ("b.png", None)):
        found = list(stream_windows(tmp_path / name, detector, ExtractionSettings(), settings))
        *_, facts = (item for item in found if isinstance(item, FileFacts))
        assert facts.stated.get("sound") == expected
