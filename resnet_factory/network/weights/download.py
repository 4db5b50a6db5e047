"""Download a checkpoint, given by URL or hub name, into the cache of torch.hub or huggingface_hub."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlparse
from urllib.request import getproxies, proxy_bypass

from resnet_factory.errors import ConfigError, Fault, install_hint

HUB = ("hf-hub:", "hf_hub:", "hf://")
"""Prefixes of Hugging Face hub names, as in timm and the hub."""
HUB_NAME = re.compile(r"(?:hf[-_]hub:|hf://)(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")
CONNECT_TIMEOUT = 3
"""Timeout in seconds for connecting to the hub."""
SILENCE = 20
"""Timeout in seconds for the next bytes of a download from a URL."""
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of a model's file in a hub repository, in order of preference."""


def download_if_remote(source: str | Path) -> Path:
    """Return the local file of `source`: the path itself, or a cached download.

    URLs go to torch.hub's cache, which torchvision and timm share; a hash in the file's name
    (`resnet50-0676ba61.pth`) is checked. Hub names are `hf-hub:owner/name[@revision]`.

    Raises:
        ConfigError: it cannot be fetched.
    """
    text = str(source)
    if text.startswith(("http://", "https://")):
        return _download_from_url(text)
    if text.startswith(HUB):
        return _download_from_hub(text)
    return Path(source)


def hub_faults(source: str | Path, key: str) -> list[Fault]:
    """Return the faults of a hub name, the value of `key`, before it is fetched; none for other sources."""
    name = str(source)
    if not name.startswith(HUB):
        return []
    if not HUB_NAME.fullmatch(name):
        expected = "hf-hub:owner/name or hf-hub:owner/name@revision"
        return [Fault(key, f"'{name}' is not a hub name; expected {expected}")]
    if find_spec("huggingface_hub") is None:
        return [Fault(key, f"'{name}': hub names need huggingface_hub; {install_hint('hub')}")]
    return []


def _download_from_url(url: str) -> Path:
    name = unquote(Path(urlparse(url).path).name)
    if not name or name in (".", ".."):
        raise ConfigError([Fault("weights", f"'{url}' does not name a file")])
    from torch import hub  # the faults of hub names need no torch

    target = Path(hub.get_dir()) / "checkpoints" / name
    if target.is_file():
        return target
    digest = re.search(r"-([a-f0-9]{8,})\.", name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _download_timeout():
            hub.download_url_to_file(url, str(target), digest[1] if digest else None, progress=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError([Fault("weights", f"'{url}' cannot be fetched: {error}")]) from None
    return target


def _download_from_hub(name: str) -> Path:
    if faults := hub_faults(name, "weights"):
        raise ConfigError(faults)
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    match = HUB_NAME.fullmatch(name)
    assert match is not None
    online = server_answers(constants.ENDPOINT)
    for file in HUB_FILES:
        try:
            return Path(
                hf_hub_download(match["repo"], file, revision=match["revision"], local_files_only=not online)
            )
        except LocalEntryNotFoundError as error:
            if not online and file != HUB_FILES[-1]:
                continue  # the other may be in the cache
            reason = (
                _download_error_text(error)
                if online
                else "the hub does not answer, and the file is not in the cache"
            )
            raise ConfigError([Fault("weights", f"'{name}' cannot be fetched: {reason}")]) from None
        except EntryNotFoundError:
            continue
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                [Fault("weights", f"'{name}' cannot be fetched: {_download_error_text(error)}")]
            ) from None
    raise ConfigError([Fault("weights", f"'{name}' has neither {' nor '.join(HUB_FILES)}")])


def server_answers(address: str) -> bool:
    """Return whether a server, or the proxy to it, accepts connections; the hub's library retries longer."""
    parts = urlparse(address)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlparse(proxy if "://" in proxy else f"http://{proxy}")
    try:
        port = parts.port or (80 if parts.scheme == "http" else 443)
        socket.create_connection((parts.hostname or "", port), timeout=CONNECT_TIMEOUT).close()
    except (OSError, ValueError):  # ValueError: the port is not a number
        return False
    return True


@contextmanager
def _download_timeout() -> Iterator[None]:
    """Set a timeout for sockets opened in the `with` block; torch.hub does not set one."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _download_error_text(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
