"""The weights that an encoder starts from: what is read, what is refused, and what the digest says."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file

from biascon.config.first_stage import first_stage_config
from biascon.config.resolve import resolve_weights
from biascon.config.run_config import RunConfig, make_config
from biascon.data.dataset import load
from biascon.errors import BiasconError, DataError, UsageError
from biascon.losses import LOSSES
from biascon.models import weights
from biascon.models.encoders import ENCODERS, ImageNetEncoder, build_encoder, build_on_meta
from biascon.models.torchvision import import_torchvision
from biascon.runs.folder import ENCODER
from biascon.training.network import build_model, initialize_encoder
from tests.run_helpers import evaluate_to_json

CPU = torch.device("cpu")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def config(*settings: str, loss: str = "supcon", encoder: str = "resnet18-imagenet") -> RunConfig:
    return make_config(loss, preset="smoke", settings=[f"model.encoder={encoder}", *settings])


@pytest.fixture(scope="module")
def theirs() -> dict[str, torch.Tensor]:
    """A ResNet-18 as torchvision names its tensors, with the classifier, of weights from a generator."""
    net = import_torchvision().models.resnet18(weights=None)
    generator = torch.Generator().manual_seed(5)
    state = net.state_dict()
    for key, value in state.items():
        if value.is_floating_point():
            state[key] = torch.rand(value.shape, generator=generator) * 0.1 + 0.05
    return {k: v.clone() for k, v in state.items()}


@pytest.fixture
def pth(tmp_path: Path, theirs: dict[str, torch.Tensor]) -> Path:
    torch.save(theirs, tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth"


def started(config: RunConfig, file: Path) -> dict[str, torch.Tensor]:
    encoder = build_encoder(config.model.encoder, torch.Generator().manual_seed(0))
    initialize_encoder(encoder, resolve_weights(config, file))
    return encoder.state_dict()


@pytest.mark.parametrize(
    "form", ["pth", "old pth", "safetensors", "without fc", "without counters"]
)
def test_torchvisions_names_become_ours(
    form: str, theirs: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path, state = tmp_path / "w", dict(theirs)
    if form == "without fc":
        state = {k: v for k, v in state.items() if not k.startswith("fc.")}
    if form == "without counters":
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form != "old pth")
    got = started(config(), path)
    assert got.keys() == build_on_meta("resnet18-imagenet").state_dict().keys()
    for key, value in got.items():
        assert torch.equal(value, theirs[key.removeprefix("body.")]), key


def test_the_encoder_computes_what_torchvisions_network_computes_on_imagenets_scale(
    theirs: dict[str, torch.Tensor], pth: Path
) -> None:
    net = import_torchvision().models.resnet18(weights=None)
    net.load_state_dict(theirs)
    net.fc = torch.nn.Identity()
    encoder = build_encoder("resnet18-imagenet", torch.Generator().manual_seed(0))
    initialize_encoder(encoder, resolve_weights(config(), pth))
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))  # in 0..1
    mean, std = (
        torch.tensor(v)[:, None, None] for v in (ImageNetEncoder.mean, ImageNetEncoder.std)
    )
    with torch.inference_mode():
        want = net.eval()((x - mean) / std)
        got = encoder.eval()(2 * x - 1)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_our_own_encoder_is_taken_to_the_byte(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = load(make_dataset(tmp_path / "data"))
    one = make_config("supcon", preset="smoke", settings=["train.epochs=1"])
    folder, _, _ = evaluate_to_json(one, data, root=tmp_path / "runs", device=CPU)
    file = folder / ENCODER
    after = resolve_weights(
        make_config("contex", preset="smoke", settings=["train.epochs=1"]), file
    )
    assert after.model.weights == f"file:{sha256(file)}"
    want = load_file(file)
    for key, value in build_model(after, LOSSES[after.loss], data).encoder.state_dict().items():
        assert torch.equal(value, want[key]), key
    plain, started = (
        evaluate_to_json(c, data, root=tmp_path / "runs", device=CPU)
        for c in (make_config("contex", preset="smoke", settings=["train.epochs=1"]), after)
    )
    assert plain[0] != started[0]
    assert f'weights = "file:{sha256(file)}"' in (started[0] / "config.toml").read_text()
    assert str(file.parent) not in (started[0] / "config.toml").read_text()
    assert started[1]["overrides"]["model.weights"] == f"file:{sha256(file)}"
    # The same bytes at another place are the same run.
    shutil.copy(file, tmp_path / "elsewhere")
    moved = resolve_weights(after, tmp_path / "elsewhere")
    assert evaluate_to_json(moved, data, root=tmp_path / "runs", device=CPU)[2]


def test_a_run_without_weights_is_what_it_was(pth: Path) -> None:
    assert resolve_weights(config()) == config()
    assert resolve_weights(config(), pth).digest("0" * 64) != config().digest("0" * 64)


def harmed(state: dict[str, torch.Tensor], harm: str) -> dict[str, torch.Tensor]:
    state = dict(state)
    if harm == "missing":
        for key in [k for k in state if k.startswith("layer4.1.")]:
            del state[key]
    elif harm == "unexpected":
        state |= {f"extra.{k}": torch.zeros(2) for k in range(5)}
    elif harm == "kind":
        state["conv1.weight"] = torch.zeros(64, 3, 7, 7, dtype=torch.int64)
    elif harm == "not finite":
        state["bn1.weight"] = torch.full((64,), torch.nan)
    return state


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("missing", r"10 missing: body\.layer4\.1\.conv1\.weight, .* and 7 more$"),
        ("unexpected", r"5 unexpected: body\.extra\.0, body\.extra\.1, body\.extra\.2 and 2 more$"),
        ("kind", r"1 of another kind: body\.conv1\.weight \(torch\.int64\)$"),
        ("not finite", r"not finite in body\.bn1\.weight$"),
    ],
)
def test_what_does_not_fit_is_told_by_name(
    harm: str, message: str, theirs: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(harmed(theirs, harm), tmp_path / "w.pth")
    with pytest.raises(DataError, match=message):
        resolve_weights(config(), tmp_path / "w.pth")


def test_another_stem_and_another_depth_are_told_by_shape(pth: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"1 of another shape: body\.conv1\.weight 64x3x7x7 where resnet18 has 64x3x3x3$",
    ):
        resolve_weights(config(encoder="resnet18"), pth)
    with pytest.raises(DataError, match=r"does not fit the encoder resnet34-imagenet: .* missing"):
        resolve_weights(config(encoder="resnet34-imagenet"), pth)


class Harmful:
    """What is run when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path("/nonexistent-touched-by-a-pickle").touch, ())


@pytest.mark.parametrize(
    "content",
    [
        "empty",
        "text",
        "truncated pth",
        "truncated safetensors",
        "pickle",
        "object",
        "list",
        "wrapped",
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_no_state_dict_is_refused_and_not_run(
    content: str, theirs: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []
    monkeypatch.setattr(Path, "touch", ran.append)
    path = tmp_path / "w"
    if content in ("empty", "text"):
        path.write_bytes(b"" if content == "empty" else b"hello, this is no file of weights\n" * 9)
    elif content == "pickle":
        path.write_bytes(pickle.dumps(Harmful()))
    elif content == "truncated safetensors":
        save_file(theirs, path)
        path.write_bytes(path.read_bytes()[:-1000])
    else:
        what = {"object": Harmful(), "list": [torch.zeros(2)], "wrapped": {"state_dict": theirs}}
        torch.save(what.get(content, theirs), path)
        if content == "truncated pth":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError) as caught:
        resolve_weights(config(), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not ran


def test_harmed_bytes_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    state = {"a": torch.arange(12.0).view(3, 4), "b": torch.zeros(5, dtype=torch.int64)}
    rng = np.random.default_rng(0)
    blobs = [save(state)]
    for zipped in (True, False):
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=zipped)
        blobs.append(buffer.getvalue())
    for blob in blobs:
        for trial in range(150):
            harmed = bytearray(blob)
            if trial % 2:
                del harmed[rng.integers(len(blob)) :]
            else:
                for at in rng.integers(0, min(250, len(blob)), 3):
                    harmed[at] = rng.integers(256)
            with contextlib.suppress(DataError):
                weights.read_weights(bytes(harmed), tmp_path)


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match="cannot read weights"):
            resolve_weights(config(), path)


def test_a_file_that_changes_before_it_is_used_is_refused(
    pth: Path, theirs: dict[str, torch.Tensor]
) -> None:
    found = resolve_weights(config(), pth)
    torch.save({**theirs, "bn1.weight": theirs["bn1.weight"] + 1}, pth)
    encoder = build_encoder("resnet18-imagenet", torch.Generator())
    with pytest.raises(DataError, match="has changed since"):
        initialize_encoder(encoder, found)


def test_only_a_digest_is_not_enough_to_start_from() -> None:
    with pytest.raises(UsageError, match="pass it with --weights FILE"):
        resolve_weights(config(f"model.weights=file:{'a' * 64}"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_pretrained_weights_are_downloaded_once_and_named_by_their_digest(
    hub: Path, pth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = []

    def download(url: str, path: Path) -> None:
        urls.append(url)
        shutil.copy(pth, path)

    monkeypatch.setattr(weights, "download", download)
    asked = config("model.weights=pretrained")
    found = resolve_weights(asked)
    assert resolve_weights(asked) == found
    assert resolve_weights(found) == found
    (url,) = urls
    assert url.rpartition("/")[2].startswith("resnet18-")
    assert found.model.file == hub / url.rpartition("/")[2]
    assert found.model.weights == f"pretrained:{sha256(pth)}"
    assert found.digest("0" * 64) != config().digest("0" * 64)
    again = make_config("supcon", preset="smoke", settings=[
        "model.encoder=resnet18-imagenet", f"model.weights={found.model.weights}",
    ])  # fmt: skip
    assert resolve_weights(again).model.file == found.model.file


@pytest.mark.parametrize("name", [n for n in ENCODERS if n.endswith("-imagenet")])
def test_every_encoder_with_torchvisions_stem_has_an_address(
    name: str, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(weights, "download", lambda url, path: asked.append(url))
    assert weights.find_pretrained(name).parent == hub
    assert asked[0].rpartition("/")[2].startswith(name.removesuffix("-imagenet") + "-")


def test_without_network_one_line_says_what_to_do(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from urllib.error import URLError

    def download(url: str, path: Path) -> None:
        raise URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr(weights, "download", download)
    with pytest.raises(
        BiasconError, match=r"cannot download .* put the file at .* --weights FILE"
    ) as caught:
        resolve_weights(config("model.weights=pretrained"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoder", ["fastconvnet", "resnet18", "resnet18-imagenet-1x1"])
def test_an_encoder_without_pretrained_weights_says_so(encoder: str) -> None:
    with pytest.raises(UsageError, match="no pretrained weights"):
        resolve_weights(config("model.weights=pretrained", encoder=encoder))


def test_a_narrow_first_network_starts_from_drawn_weights(pth: Path) -> None:
    found = resolve_weights(config(loss="softcon"), pth)
    before = first_stage_config(found)
    assert before is not None
    assert before.model.encoder == "resnet18-imagenet-1x1"
    assert (before.model.weights, before.model.file) == ("none", None)
    same = first_stage_config(resolve_weights(config(loss="jtt"), pth))
    assert same is not None
    assert same.model == resolve_weights(config(loss="jtt"), pth).model
