"""Where data sets lie on disk, and how absent files are fetched."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .dataset import DataError


def data_folder(data_dir: str | Path | None) -> Path:
    """`data_dir`, else $PYCNN_DATA, else ~/.cache/pycnn."""
    return Path(data_dir or os.environ.get("PYCNN_DATA") or Path.home() / ".cache" / "pycnn").expanduser()


def download(name: str, file: str, urls, sha256: str, folder: Path, advice: str) -> Path:
    """Fetch a file over https into `folder`. It gets its name only when it is complete and its sha256 is right.

    Args:
        name: of the data set, for messages.
        file: its name, there and here.
        urls: mirrors, each ending in a slash, tried in turn.
        sha256: of the file, in hexadecimal.
        folder: where it is put; created if absent.
        advice: what to do if no mirror has it; ends the message.

    Raises:
        DataError: no mirror could be reached, or what came is not the file.
    """
    import http.client  # 30 ms, and seldom needed
    import urllib.request

    target = folder / file
    temporary = folder / f".{file}.{os.getpid()}.part"
    reasons = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for url in urls:
            try:
                with urllib.request.urlopen(url + file, timeout=30) as answer:
                    if not answer.geturl().startswith("https://"):
                        raise OSError("redirected away from https")
                    content = answer.read()
            except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
                reasons.append(f"{url}: {getattr(error, 'reason', error)}")
                continue
            if hashlib.sha256(content).hexdigest() != sha256:
                reasons.append(f"{url}: what came has another sha256")
                continue
            with open(temporary, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, target)
            return target
    except OSError as error:
        raise DataError(f"{name}: {target} is absent and cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    raise DataError(f"{name}: {target} is absent and could not be downloaded ({'; '.join(reasons)}). {advice}")
