"""Initial weights of an encoder from a file: accepted files, refused files, and the digest of the run."""

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

from biascon.config.factory import make_config
from biascon.config.first_stage import first_stage_config
from biascon.config.resolve import resolve_weights
from biascon.config.run_config import RunConfig
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
def torchvision_state() -> dict[str, torch.Tensor]:
    """A state dict of torchvision's ResNet-18 with its classifier, with weights from a generator."""
    net = import_torchvision().models.resnet18(weights=None)
    generator = torch.Generator().manual_seed(5)
    state = net.state_dict()
    for key, value in state.items():
        if value.is_floating_point():
            state[key] = torch.rand(value.shape, generator=generator) * 0.1 + 0.05
    return {k: v.clone() for k, v in state.items()}


@pytest.fixture
def weights_file(tmp_path: Path, torchvision_state: dict[str, torch.Tensor]) -> Path:
    torch.save(torchvision_state, tmp_path / "torchvision.pth")
    return tmp_path / "torchvision.pth"


def load_into_encoder(config: RunConfig, file: Path) -> dict[str, torch.Tensor]:
    encoder = build_encoder(config.model.encoder, torch.Generator().manual_seed(0))
    initialize_encoder(encoder, resolve_weights(config, file))
    return encoder.state_dict()


@pytest.mark.parametrize(
    "form", ["pth", "old pth", "safetensors", "without fc", "without counters"]
)
def test_torchvision_names_are_mapped_to_own_names(
    form: str, torchvision_state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path, state = tmp_path / "w", dict(torchvision_state)
    if form == "without fc":
        state = {k: v for k, v in state.items() if not k.startswith("fc.")}
    if form == "without counters":
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form != "old pth")
    got = load_into_encoder(config(), path)
    assert got.keys() == build_on_meta("resnet18-imagenet").state_dict().keys()
    for key, value in got.items():
        assert torch.equal(value, torchvision_state[key.removeprefix("body.")]), key


def test_encoder_equals_the_torchvision_network_on_imagenet_scale(
    torchvision_state: dict[str, torch.Tensor], weights_file: Path
) -> None:
    net = import_torchvision().models.resnet18(weights=None)
    net.load_state_dict(torchvision_state)
    net.fc = torch.nn.Identity()
    encoder = build_encoder("resnet18-imagenet", torch.Generator().manual_seed(0))
    initialize_encoder(encoder, resolve_weights(config(), weights_file))
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))  # in 0..1
    mean, std = (
        torch.tensor(v)[:, None, None] for v in (ImageNetEncoder.mean, ImageNetEncoder.std)
    )
    with torch.inference_mode():
        expected = net.eval()((x - mean) / std)
        got = encoder.eval()(2 * x - 1)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_encoder_of_a_run_is_loaded_without_change(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = load(make_dataset(tmp_path / "data"))
    run_config = make_config("supcon", preset="smoke", settings=["train.epochs=1"])
    folder, _, _ = evaluate_to_json(run_config, data, root=tmp_path / "runs", device=CPU)
    file = folder / ENCODER
    after = resolve_weights(
        make_config("contex", preset="smoke", settings=["train.epochs=1"]), file
    )
    assert after.model.weights == f"file:{sha256(file)}"
    expected = load_file(file)
    for key, value in build_model(after, LOSSES[after.loss], data).encoder.state_dict().items():
        assert torch.equal(value, expected[key]), key
    plain, started = (
        evaluate_to_json(c, data, root=tmp_path / "runs", device=CPU)
        for c in (make_config("contex", preset="smoke", settings=["train.epochs=1"]), after)
    )
    assert plain[0] != started[0]
    assert f'weights = "file:{sha256(file)}"' in (started[0] / "config.toml").read_text()
    assert str(file.parent) not in (started[0] / "config.toml").read_text()
    assert started[1]["overrides"]["model.weights"] == f"file:{sha256(file)}"
    # The same bytes at another path give the same run.
    shutil.copy(file, tmp_path / "elsewhere")
    moved = resolve_weights(after, tmp_path / "elsewhere")
    assert evaluate_to_json(moved, data, root=tmp_path / "runs", device=CPU)[2]


def test_run_without_weights_keeps_its_configuration(weights_file: Path) -> None:
    assert resolve_weights(config()) == config()
    assert resolve_weights(config(), weights_file).digest("0" * 64) != config().digest("0" * 64)


def damage_state(state: dict[str, torch.Tensor], damage: str) -> dict[str, torch.Tensor]:
    state = dict(state)
    if damage == "missing":
        for key in [k for k in state if k.startswith("layer4.1.")]:
            del state[key]
    elif damage == "unexpected":
        state |= {f"extra.{k}": torch.zeros(2) for k in range(5)}
    elif damage == "kind":
        state["conv1.weight"] = torch.zeros(64, 3, 7, 7, dtype=torch.int64)
    elif damage == "not finite":
        state["bn1.weight"] = torch.full((64,), torch.nan)
    return state


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", r"10 missing: body\.layer4\.1\.conv1\.weight, .* and 7 more$"),
        ("unexpected", r"5 unexpected: body\.extra\.0, body\.extra\.1, body\.extra\.2 and 2 more$"),
        ("kind", r"1 of another kind: body\.conv1\.weight \(torch\.int64\)$"),
        ("not finite", r"not finite in body\.bn1\.weight$"),
    ],
)
def test_mismatches_are_named_in_the_message(
    damage: str, message: str, torchvision_state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(damage_state(torchvision_state, damage), tmp_path / "w.pth")
    with pytest.raises(DataError, match=message):
        resolve_weights(config(), tmp_path / "w.pth")


def test_another_stem_and_another_depth_are_refused(weights_file: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"1 of another shape: body\.conv1\.weight 64x3x7x7 where resnet18 has 64x3x3x3$",
    ):
        resolve_weights(config(encoder="resnet18"), weights_file)
    with pytest.raises(DataError, match=r"does not fit the encoder resnet34-imagenet: .* missing"):
        resolve_weights(config(encoder="resnet34-imagenet"), weights_file)


class Harmful:
    """An object that runs code when it is unpickled."""

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
def test_file_without_a_state_dict_is_refused_and_not_run(
    content: str,
    torchvision_state: dict[str, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran = []
    monkeypatch.setattr(Path, "touch", ran.append)
    path = tmp_path / "w"
    if content in ("empty", "text"):
        path.write_bytes(b"" if content == "empty" else b"hello, this is no file of weights\n" * 9)
    elif content == "pickle":
        path.write_bytes(pickle.dumps(Harmful()))
    elif content == "truncated safetensors":
        save_file(torchvision_state, path)
        path.write_bytes(path.read_bytes()[:-1000])
    else:
        contents = {
            "object": Harmful(),
            "list": [torch.zeros(2)],
            "wrapped": {"state_dict": torchvision_state},
        }
        torch.save(contents.get(content, torchvision_state), path)
        if content == "truncated pth":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError) as caught:
        resolve_weights(config(), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not ran


def test_damaged_bytes_are_read_or_refused(tmp_path: Path) -> None:
    state = {"a": torch.arange(12.0).view(3, 4), "b": torch.zeros(5, dtype=torch.int64)}
    rng = np.random.default_rng(0)
    blobs = [save(state)]
    for zipped in (True, False):
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=zipped)
        blobs.append(buffer.getvalue())
    for blob in blobs:
        for trial in range(150):
            damaged = bytearray(blob)
            if trial % 2:
                del damaged[rng.integers(len(blob)) :]
            else:
                for index in rng.integers(0, min(250, len(blob)), 3):
                    damaged[index] = rng.integers(256)
            with contextlib.suppress(DataError):
                weights.read_weights(bytes(damaged), tmp_path)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match="cannot read weights"):
            resolve_weights(config(), path)


def test_file_that_changes_before_use_is_refused(
    weights_file: Path, torchvision_state: dict[str, torch.Tensor]
) -> None:
    resolved = resolve_weights(config(), weights_file)
    torch.save(
        {**torchvision_state, "bn1.weight": torchvision_state["bn1.weight"] + 1}, weights_file
    )
    encoder = build_encoder("resnet18-imagenet", torch.Generator())
    with pytest.raises(DataError, match="has changed since"):
        initialize_encoder(encoder, resolved)


def test_digest_without_a_file_is_refused() -> None:
    with pytest.raises(UsageError, match="pass it with --weights FILE"):
        resolve_weights(config(f"model.weights=file:{'a' * 64}"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_pretrained_weights_are_downloaded_once_and_named_by_their_digest(
    hub: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = []

    def download(url: str, path: Path) -> None:
        urls.append(url)
        shutil.copy(weights_file, path)

    monkeypatch.setattr(weights, "download", download)
    requested = config("model.weights=pretrained")
    resolved = resolve_weights(requested)
    assert resolve_weights(requested) == resolved
    assert resolve_weights(resolved) == resolved
    (url,) = urls
    assert url.rpartition("/")[2].startswith("resnet18-")
    assert resolved.model.file == hub / url.rpartition("/")[2]
    assert resolved.model.weights == f"pretrained:{sha256(weights_file)}"
    assert resolved.digest("0" * 64) != config().digest("0" * 64)
    again = make_config("supcon", preset="smoke", settings=[
        "model.encoder=resnet18-imagenet", f"model.weights={resolved.model.weights}",
    ])  # fmt: skip
    assert resolve_weights(again).model.file == resolved.model.file


@pytest.mark.parametrize("name", [n for n in ENCODERS if n.endswith("-imagenet")])
def test_every_imagenet_encoder_has_a_download_address(
    name: str, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = []
    monkeypatch.setattr(weights, "download", lambda url, path: urls.append(url))
    assert weights.find_pretrained(name).parent == hub
    assert urls[0].rpartition("/")[2].startswith(name.removesuffix("-imagenet") + "-")


def test_missing_network_gives_an_error_of_one_line(
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
def test_encoder_without_pretrained_weights_is_refused(encoder: str) -> None:
    with pytest.raises(UsageError, match="no pretrained weights"):
        resolve_weights(config("model.weights=pretrained", encoder=encoder))


def test_first_stage_with_1x1_kernels_starts_from_drawn_weights(weights_file: Path) -> None:
    resolved = resolve_weights(config(loss="softcon"), weights_file)
    first_stage = first_stage_config(resolved)
    assert first_stage is not None
    assert first_stage.model.encoder == "resnet18-imagenet-1x1"
    assert (first_stage.model.weights, first_stage.model.file) == ("none", None)
    same = first_stage_config(resolve_weights(config(loss="jtt"), weights_file))
    assert same is not None
    assert same.model == resolve_weights(config(loss="jtt"), weights_file).model
