"""The catalogue: which models there are, where on the Hub, and how a name becomes a local file.

    name or source -> Model -> fetch -> local file -> sefa.load_generator

Two doors, because two kinds of people name models. `resolve_name` is for visitors: names of the
catalogue and of the owner's SEFA_MODELS, nothing else. `fetch` and `load` are for whoever owns the
machine: they also take any Hub repository and any local path. What goes wrong is a `UserError`
with one sentence.

The environment is read when a function is called: SEFA_MODELS, SEFA_NAMES, and the Hub's own
HF_TOKEN, HF_ENDPOINT and HF_HUB_CACHE. HF_HOME and HF_HUB_OFFLINE are read by huggingface_hub when it is
first imported, so set them before the program starts.
"""

from __future__ import annotations

import difflib
import errno
import functools
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

import sefa
from hub_cache import note_use, room_for
from sefa.errors import UserError
from sefa.labels import MAX_BYTES, Labels, parse_labels, weights_of

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 5.0  # for the Hub's first answer, unless HF_HUB_ETAG_TIMEOUT says otherwise
NAMES = "names"  # the folder of names for directions, unless SEFA_NAMES says otherwise
MAX_NAMES_FILES = 256  # in all such folders together
EXTENSIONS = (".safetensors", ".pth", ".pt", ".pkl", ".bin")  # what a repository is searched for

Progress = Callable[[int, int | None], None]  # bytes there, bytes in all (None: not known)


@dataclass(frozen=True)
class Model:
    """A checkpoint somewhere, and what to show beside it.

    `repo` is None for a local file, whose `filename` is then relative to this folder or absolute.
    `filename` is None for a repository named without a file: `fetch` finds its one checkpoint.
    `revision` is a branch, tag or commit; None is the newest commit of the main branch.
    `licence` is the uploader's tag, None where there is none; it says nothing more than that.
    `companions` are files beside the checkpoint that its reader looks at where they exist.
    `labels` is a file of names for its directions that ships with the checkpoint, relative to this
    folder (see `load_labels`).
    """

    name: str
    repo: str | None = None
    filename: str | None = None
    revision: str | None = None
    family: str | None = None
    licence: str | None = None
    size_mb: float | None = None
    note: str = ""
    companions: tuple[str, ...] = ()
    labels: str | None = None

    @property
    def licence_shown(self) -> str:
        """The licence as the page shows it: never empty."""
        return self.licence or "no licence shown"

    @property
    def source(self) -> str | None:
        """The address of the file's or the repository's page on the Hub; None for a local file."""
        if self.repo is None:
            return None
        revision = quote(self.revision or "main", safe="")
        if self.filename is None:
            return f"https://huggingface.co/{self.repo}/tree/{revision}"
        return f"https://huggingface.co/{self.repo}/blob/{revision}/{quote(self.filename)}"


@dataclass(frozen=True)
class Fetched:
    """A checkpoint on this machine: where, and at which commit of its repository.

    `revision` is the full commit sha whatever was asked for; None for a local file.
    """

    path: Path
    revision: str | None = None


CATALOGUE = {
    model.name: model
    for model in (
        Model(
            "avatars",
            filename="demo_model/avatars.safetensors",
            family="stylegan2",
            licence="mit",
            note="small drawn faces; ships with the Space and works offline",
            labels="demo_model/labels.json",
        ),
        Model(
            "stylegan_animeface512",
            "huggan/stylegan_animeface512",
            "pytorch_model.bin",
            "a32c3431e70a95ac172f8081449b5a7d53b19c14",
            family="stylegan",
            size_mb=108,
            note="anime faces; the default of the official interface",
        ),
        Model(
            "stylegan_car512",
            "huggan/stylegan_car512",
            "pytorch_model.bin",
            "8a215b13cf7ed5ba027d753d51d9eaba7a0f3233",
            family="stylegan",
            size_mb=108,
            note="cars",
        ),
        Model(
            "stylegan_cat256",
            "huggan/stylegan_cat256",
            "pytorch_model.bin",
            "3c80170f249c269e9dbc77f73d2168e5a42d972d",
            family="stylegan",
            size_mb=105,
            note="cats",
        ),
        Model(
            "pggan_celebahq1024",
            "huggan/pggan-celebahq-1024",
            "pytorch_model.bin",
            "278449f8416d38a0233c980774528d32c4eee99c",
            family="pggan",
            size_mb=92,
            note="faces of celebrities",
        ),
        Model(
            "stylegan3_lhq256",
            "justinpinkney/stylegan3-t-lhq-256",
            "lhq-256-stylegan3-t-25Mimg.pkl",
            family="stylegan3",
            licence="mit",
            size_mb=343,
            note="landscapes",
        ),
        Model(
            "stylegan3_anime",
            "akiyamasho/stylegan3-anime-faces-generator",
            "stylegan3-anime-face-gen.pkl",
            family="stylegan3",
            licence="mit",
            size_mb=376,
            note="anime faces",
        ),
        Model(
            "biggan_deep128",
            "osanseviero/BigGAN-deep-128",
            "pytorch_model.bin",
            family="biggan",
            size_mb=211,
            note="1000 classes of ImageNet",
            companions=("config.json",),
        ),
        Model(
            "tadne",
            "public-data/TADNE",
            "models/aydao-anime-danbooru2019s-512-5268480.pt",
            family="stylegan2",
            licence="cc0-1.0",
            size_mb=470,
            note="This Anime Does Not Exist: whole figures",
        ),
        *(
            Model(
                f"stylegan2_{subject}",
                "aaronb/StyleGAN2",
                f"stylegan2-{subject}-config-f.pt",
                "d9b2f23f21856b6bdfabd37de6f3d04cf39f891e",
                family="stylegan2",
                size_mb=size_mb,
                note=note,
            )
            for subject, size_mb, note in (
                ("ffhq", 133, "faces"),
                ("cat", 121, "cats"),
                ("church", 121, "churches"),
                ("horse", 121, "horses"),
                ("car", 124, "cars"),
            )
        ),
    )
}


# --- who may name what ----------------------------------------------------------------------------


def owner_models(environ: Mapping[str, str] = os.environ) -> tuple[list[Model], list[str]]:
    """The models of SEFA_MODELS, and one sentence for each entry that is left out.

    Entries look like `user/repo/file.pth@revision`, separated by commas or white space; the
    revision may be missing, the file may be in a folder, and `user/repo` alone stands for the one
    checkpoint of that repository. A model is named by its entry without the revision; a second
    entry for the same file at another revision keeps its revision in the name. Never raises.
    """
    models: dict[str, Model] = {}
    notices = []
    for entry in filter(None, re.split(r"[\s,]+", environ.get("SEFA_MODELS", ""))):
        model = _parse(entry)
        if entry in CATALOGUE:
            notices.append(f"SEFA_MODELS: {entry} is in the catalogue already, so it is left out.")
        elif model is None:
            notices.append(
                f"SEFA_MODELS: {_shown(entry)} is left out because it does not have the form "
                "user/repo/file.pth@revision."
            )
        elif _same_file(model) not in map(_same_file, models.values()):
            name = model.name
            if name in models:
                name += f"@{model.revision or 'main'}"
            models[name] = replace(model, name=name, note="added by the owner of this Space")
    return list(models.values()), notices


def available(environ: Mapping[str, str] = os.environ) -> dict[str, Model]:
    """What the page may offer, by name: the catalogue, then the owner's models."""
    return CATALOGUE | {model.name: model for model in owner_models(environ)[0]}


def resolve_name(name: object, environ: Mapping[str, str] = os.environ) -> Model:
    """The model a visitor names: one of `available()`, compared as text and nothing else.

    Raises `UserError` listing the names for anything else — a path, an address, a repository that
    is not the owner's, something that is no text. Touches neither the disk nor the network.
    """
    models = available(environ)
    if isinstance(name, str) and name in models:
        return models[name]
    raise UserError(
        f"There is no model {_shown(name)} here{_guess(name, models)}: {_list(models)}."
    )


# --- from a source to a file ----------------------------------------------------------------------


def load(
    source: str | os.PathLike[str] | Model, progress: Progress | None = None
) -> sefa.Generator:
    """The generator of a catalogue name, "user/repo", "user/repo/file.pth@revision" or a path.

    For whoever owns the machine; what a visitor sends goes through `resolve_name` first. A file is
    meant where one exists under that name, or the name begins with "/", "." or "~". A name of
    SEFA_MODELS stands for the revision pinned there. Raises `UserError` with one sentence.
    """
    return sefa.load_generator(fetch(source, progress).path)


def fetch(source: str | os.PathLike[str] | Model, progress: Progress | None = None) -> Fetched:
    """The local file of a model, downloaded into the Hub's standard cache where it is not there.

    `progress(done, total)` is called in bytes while a download runs; without it huggingface_hub
    shows its own bar on a terminal. A file cached at a full commit sha costs no request; a branch
    or tag costs one, and when the Hub cannot be reached the copy cached under it is used. Raises
    `UserError` with one sentence saying what to do.
    """
    model = source if isinstance(source, Model) else _find(source)
    if model.repo is None:
        return Fetched(_existing(model))
    try:
        if model.filename is None:
            filename = _only_checkpoint(model)
            model = replace(model, filename=filename, companions=_companions(filename))
        return _from_hub(model, progress)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - hf_xet raises types of its own
        # `from None`: the chained text of an HTTP library may quote the token it was given.
        raise UserError(_explain(error, model)) from None


def cached(model: Model) -> Fetched | None:
    """The local file of a model where it is on this machine already; None where it is not.

    Asks nobody: of a branch or tag it is the commit that was its newest when it was last asked.
    """
    import huggingface_hub as hub

    try:
        if model.repo is None:
            return Fetched(_existing(model))
        filename = model.filename or _choose_checkpoint(model, _cached_files(model))
        path = hub.try_to_load_from_cache(
            model.repo, filename, revision=model.revision, cache_dir=_cache_dir()
        )
        return _in_cache(path, filename) if isinstance(path, str) else None
    except (UserError, OSError, ValueError):
        return None


def is_newest(model: Model, fetched: Fetched) -> bool:
    """Whether a file of `cached` is what `fetch` would give; one request where no commit is named.

    Yes where the Hub cannot be asked. Never raises.
    """
    import huggingface_hub as hub

    if model.repo is None or fetched.revision == model.revision:
        return True
    try:
        filename = model.filename or _choose_checkpoint(model, _cached_files(model))
        url = hub.hf_hub_url(model.repo, filename, revision=model.revision, endpoint=_endpoint())
        head = hub.get_hf_file_metadata(url, timeout=_timeout(), endpoint=_endpoint())
        return head.commit_hash == fetched.revision
    except Exception as error:  # noqa: BLE001 - as in `fetch`
        return _is_away(error)


def load_labels(
    source: str | os.PathLike[str] | Model,
    path: Path,
    generator: sefa.Generator,
    environ: Mapping[str, str] = os.environ,
) -> Labels:
    """The names of a model's directions and its curated seeds; `path` is what `fetch` gave for it.

    They are those of the first file of `names_files` that is for the weights in `path`, whatever
    the model or the file is called; failing that, of the file that ships with the model. Empty
    where there is none. Never raises: a file that cannot be used is left out with one sentence in
    the log. The weights are only hashed where there is a file to compare with.
    """
    model = source if isinstance(source, Model) else _find(source)
    for file in names_files(environ):
        weights = _weights_of(file)
        if weights and weights == weights_hash(path):
            labels = _labels_in(file, _shown_file(file), path, generator)
            if labels is not None:
                return labels
    if model.labels is None:
        return Labels()
    return _labels_in(HERE / model.labels, model.labels, path, generator) or Labels()


def names_files(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """The .json files in the folder `names` here, or what SEFA_NAMES says, by name.

    SEFA_NAMES holds one folder or file, or several, in order of precedence, separated as those of
    PATH are; they are relative to this folder or absolute. What a visitor sends has no say in it.
    At most MAX_NAMES_FILES. Never raises.
    """
    files, left_out = _find_names_files(environ)
    for sentence in left_out:
        _say_once(sentence)
    return files


def _find_names_files(environ: Mapping[str, str]) -> tuple[list[Path], list[str]]:
    """`names_files`, and one sentence for each place, and for too many files."""
    told = [part.strip() for part in environ.get("SEFA_NAMES", "").split(os.pathsep)]
    told = [part for part in told if part]
    files: list[Path] = []
    left_out = []
    for part in told or [NAMES]:
        place = HERE / os.path.expanduser(part)
        if told and place.is_file():  # whoever names a file may call it anything
            files.append(place)
            continue
        try:
            with os.scandir(place) as entries:
                # Not the hidden ones: some systems put files of their own beside each.
                names = [e.name for e in entries if e.name[0] != "." and e.is_file()]
        except (OSError, ValueError) as error:
            if told:
                reason = getattr(error, "strerror", None) or "it is no path"
                left_out.append(f"SEFA_NAMES: {_shown(part)} is left out: {reason}.")
            continue
        files += [place / name for name in sorted(names) if name.lower().endswith(".json")]
    if len(files) > MAX_NAMES_FILES:
        left_out.append(f"Of {len(files)} files of names, the first {MAX_NAMES_FILES} are read.")
    return files[:MAX_NAMES_FILES], left_out


@dataclass(frozen=True)
class NamesFile:
    """A file of names, as far as it is known.

    shown: its name, fit for a page. weights: the SHA-256 that it is for, None if it says none.
    problem: why it is left out, one sentence; "" where nothing is known against it.
    """

    shown: str
    weights: str | None
    problem: str = ""


def names_known(environ: Mapping[str, str] = os.environ) -> tuple[list[NamesFile], list[str]]:
    """What `names_files` finds, and one sentence for each place that it cannot read.

    What is wrong with the names themselves is known once a model was opened that they are for.
    """
    files, left_out = _find_names_files(environ)
    known = []
    for file in files:
        weights = _weights_of(file)
        known.append(NamesFile(_shown_file(file), weights, _problems.get(_version_of(file), "")))
    return known, left_out


def _weights_of(file: Path) -> str | None:
    """The SHA-256 that a file of names says it is for, read again only when the file changes.

    None, with one sentence in the log, for a file that is none.
    """
    try:
        stat = file.stat()
    except OSError:  # gone since the folder was listed
        return None
    return _weights_said(file, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=2 * MAX_NAMES_FILES)
def _weights_said(file: Path, size: int, mtime_ns: int) -> str | None:
    try:
        return weights_of(_read_names(file))
    except (OSError, UserError) as error:
        _log_left_out(file, _shown_file(file), error)
        return None


def _labels_in(file: Path, shown: str, path: Path, generator: sefa.Generator) -> Labels | None:
    """The labels in a file for the weights in `path`; None, with a line in the log, for bad ones."""
    try:
        content = _read_names(file)
        return parse_labels(content, weights_hash(path) or "", generator.num_ws, generator.w_dim)
    except (OSError, UserError) as error:
        _log_left_out(file, shown, error)
        return None


def _read_names(file: Path) -> bytes:
    with open(file, "rb") as opened:
        content = opened.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UserError(f"it is longer than {MAX_BYTES} bytes.")
    return content


def _log_left_out(file: Path, shown: str, error: OSError | UserError) -> None:
    reason = str(error)
    if isinstance(error, OSError):
        reason = f"{error.strerror or 'it cannot be read'}."
    sentence = f"{shown} is left out: {reason}"
    _problems[_version_of(file)] = sentence
    while len(_problems) > 2 * MAX_NAMES_FILES:
        _problems.pop(next(iter(_problems)), None)
    logging.getLogger(__name__).warning("%s", sentence)


_problems: dict[tuple[str, int], str] = {}  # what was said of a version of a file of names


def _version_of(file: Path) -> tuple[str, int]:
    try:
        return str(file), file.stat().st_mtime_ns
    except OSError:
        return str(file), 0


@functools.lru_cache(maxsize=64)
def _say_once(sentence: str) -> None:
    logging.getLogger(__name__).warning("%s", sentence)


def _shown_file(file: Path) -> str:
    return _clean(f"{file.parent.name}/{file.name}")


def weights_hash(path: Path) -> str | None:
    """The SHA-256 of a checkpoint, computed once for each version of the file; None without one."""
    try:
        stat = os.stat(path)
        return _digest_of(os.path.realpath(path), stat.st_size, stat.st_mtime_ns)
    except OSError:
        return None


def hash_without_reading(path: Path) -> str | None:
    """The SHA-256 by which the Hub's cache has named a file's content; None for other files."""
    try:
        name = Path(os.readlink(path)).name
    except OSError:
        return None
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else None


@functools.lru_cache(maxsize=64)
def _digest_of(path: str, size: int, mtime_ns: int) -> str:
    return _sha256(Path(path))


def _find(source: object) -> Model:
    """What the owner of the machine means by `source`; no network."""
    models = available()
    if isinstance(source, str) and source in models:
        return models[source]
    if isinstance(source, os.PathLike):
        return _local(os.fsdecode(source))
    if isinstance(source, str) and source:
        if source.startswith((".", "~")) or os.path.isabs(source) or os.path.isfile(source):
            return _local(source)
        if model := _parse(source):
            return model
    raise UserError(
        f"{_shown(source)} is neither a file, nor a Hub repository (user/repo or "
        f"user/repo/file.pth@revision), nor a known model{_guess(source, models)}: {_list(models)}."
    )


def _local(path: str) -> Model:
    return Model(path, filename=os.path.abspath(os.path.expanduser(path)))


def _existing(model: Model) -> Path:
    path = HERE / model.filename
    if os.path.isfile(path):
        return path
    if model.name in CATALOGUE:
        raise UserError(
            f"The file {model.filename} of the model {model.name} is missing from this copy of the "
            "project: get it again from where the project came from."
        )
    if os.path.isdir(path):
        raise UserError(f"{_shown(model.name)} is a folder: name the checkpoint file in it.")
    raise UserError(f"There is no file {_shown(model.name)}: check the path.")


def _from_hub(model: Model, progress: Progress | None) -> Fetched:
    """`model.filename` is known. Raises what huggingface_hub raises, for `_explain`."""
    import huggingface_hub as hub

    repo, filename, revision = model.repo, model.filename, model.revision
    path = hub.try_to_load_from_cache(repo, filename, revision=revision, cache_dir=_cache_dir())
    cached = _in_cache(path, filename) if isinstance(path, str) else None
    if cached:
        note_use(cached.path)
    if cached and cached.revision == revision:
        return cached
    try:
        # hf_hub_download would ask this itself, but repeats it for 23 s when the Hub is away.
        url = hub.hf_hub_url(repo, filename, revision=revision, endpoint=_endpoint())
        head = hub.get_hf_file_metadata(url, timeout=_timeout(), endpoint=_endpoint())
        if head.commit_hash is None:
            raise NotTheHub
        if cached and cached.revision == head.commit_hash:
            return cached
        ours = {repo, *filter(None, (known.repo for known in available().values()))}
        with room_for(head.size or 0, _where(model), _cache_dir(), ours):
            # First: a checkpoint in the cache has its companions beside it.
            for companion in model.companions:
                _fetch_companion(model, companion, head.commit_hash)
            path = hub.hf_hub_download(
                repo,
                filename,
                revision=revision,
                endpoint=_endpoint(),
                cache_dir=_cache_dir(),
                etag_timeout=_timeout(),
                tqdm_class=_reporter(progress) if progress else None,
            )
    except Exception as error:
        if cached and _is_away(error):
            return cached
        raise
    fetched = _in_cache(path, filename)
    note_use(fetched.path)
    _check_sum(fetched.path, model)
    if progress:
        size = fetched.path.stat().st_size
        progress(size, size)
    return fetched


def _fetch_companion(model: Model, name: str, commit: str) -> None:
    """`name` in the folder of `model.filename`; not every repository has it."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    model = replace(model, filename="".join(model.filename.rpartition("/")[:2]) + name)
    try:
        path = hub.hf_hub_download(
            model.repo,
            model.filename,
            revision=commit,
            endpoint=_endpoint(),
            cache_dir=_cache_dir(),
            etag_timeout=_timeout(),
            tqdm_class=_reporter(lambda done, total: None),
        )
    except errors.RemoteEntryNotFoundError:
        return
    _check_sum(Path(path), model)


class NotTheHub(Exception):
    """Something else answers at the Hub's address: a captive portal, a proxy, a wrong address."""


def _in_cache(path: str, filename: str) -> Fetched:
    # The cache's layout: .../snapshots/<commit>/<filename>
    return Fetched(Path(path), Path(path).parents[filename.count("/")].name)


def _only_checkpoint(model: Model) -> str:
    """The one checkpoint in a repository named without a file, by the order of EXTENSIONS."""
    try:
        files = _files(model)
    except Exception as error:
        if not _is_away(error):
            raise
        files = _cached_files(model)
        if not any(file.lower().endswith(EXTENSIONS) for file in files):  # it made room for others
            raise
    return _choose_checkpoint(model, files)


def _cached_files(model: Model) -> list[str]:
    """The files of a repository that are in the cache; no request."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        folder = hub.snapshot_download(
            model.repo, revision=model.revision, cache_dir=_cache_dir(), local_files_only=True
        )
    except errors.LocalEntryNotFoundError:
        return []
    return [f.relative_to(folder).as_posix() for f in Path(folder).rglob("*") if f.is_file()]


def _choose_checkpoint(model: Model, files: list[str]) -> str:
    """The one checkpoint among the files of a repository; raises `UserError` if there is not one."""
    for extension in EXTENSIONS:
        found = [file for file in files if file.lower().endswith(extension)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"{model.repo} holds several checkpoints ({_some(found)}): name one, as in "
                f"{model.repo}/{_clean(min(found))}."
            )
    raise UserError(
        f"{model.repo} holds no checkpoint ({', '.join(EXTENSIONS)}): it has {_some(files)}."
    )


def _files(model: Model) -> list[str]:
    import huggingface_hub as hub

    api = hub.HfApi(endpoint=_endpoint())
    try:
        info = api.model_info(model.repo, revision=model.revision, timeout=_timeout())
    except json.JSONDecodeError:
        raise NotTheHub from None
    return [file.rfilename for file in info.siblings or []]


def _reporter(progress: Progress) -> type:
    """What huggingface_hub fills in place of a tqdm bar, over plain HTTP or Xet."""

    class Reporter:
        def __init__(self, *args, total=None, initial=0, **kwargs):
            self.n, self.total = initial, total

        def update(self, n=1):
            self.n += n
            progress(self.n, self.total)

        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def ignore(self, *args, **kwargs):
            pass

        # Having `update_transfer` makes Xet fill one bar, not one for traffic and one for bytes.
        update_transfer = set_transfer_postfix_str = set_postfix_str = refresh = close = ignore

    return Reporter


def _check_sum(path: Path, model: Model) -> None:
    """In the cache, a large file links to a blob named by its SHA-256. huggingface_hub compares
    only the size of what came over plain HTTP."""
    blob = path.parent / os.readlink(path) if path.is_symlink() else path
    if not re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return
    if _sha256(blob) != blob.name:
        blob.unlink()
        path.unlink()
        raise UserError(f"{_where(model)} arrived damaged and was deleted: try again.")


def _sha256(path: Path) -> str:
    """The SHA-256 of a file, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_away(error: Exception) -> bool:
    """Whether the Hub could not be asked, as against having said no."""
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    return isinstance(
        error,
        (
            httpx2.TimeoutException,
            httpx2.NetworkError,
            httpx2.ProxyError,
            httpx2.RemoteProtocolError,
            errors.OfflineModeIsEnabled,
            errors.LocalEntryNotFoundError,
            NotTheHub,
        ),
    )


# --- what people read -----------------------------------------------------------------------------


def _explain(error: Exception, model: Model) -> str:
    """One sentence: what went wrong, and what to do. Holds none of the library's own text."""
    import httpx2
    from huggingface_hub import errors

    where = _where(model)
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_status(error, model)
    if isinstance(error, NotTheHub):
        return f"{_host()} does not answer as the Hub does: check HF_ENDPOINT and the network."
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{where} is not in the cache, and HF_HUB_OFFLINE forbids downloads: unset it."
    if isinstance(error, (httpx2.ReadTimeout, httpx2.WriteTimeout, httpx2.PoolTimeout)):
        return f"The Hub ({_host()}) did not answer in time for {where}: try again later."
    if isinstance(error, (httpx2.ReadError, httpx2.RemoteProtocolError)):
        return f"The download of {where} broke off: check the connection and try again."
    if _is_away(error):
        return (
            f"The Hub ({_host()}) cannot be reached, and {where} is not in the cache: "
            "check the connection and try again."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full, so {where} cannot be saved in {_cache_shown()}: free some space, "
            "or set HF_HOME to a folder on a larger disk."
        )
    if isinstance(error, OSError) and error.errno is not None:
        return (
            f"{where} cannot be saved in {_cache_shown()} ({os.strerror(error.errno)}): set "
            "HF_HOME to a folder that can be written to."
        )
    if isinstance(error, OSError):  # huggingface_hub's check of the size
        return f"{where} arrived incomplete: try again."
    return f"{where} could not be downloaded ({type(error).__name__}): try again later."


def _explain_status(error, model: Model) -> str:
    """`error`: an HfHubHTTPError, that is an answer of the Hub that says no."""
    import httpx2
    from huggingface_hub import errors

    where, repo, status = _where(model), model.repo, error.response.status_code
    with_token = "authorization" in error.response.request.headers
    if isinstance(error, errors.GatedRepoError):  # before its parent, RepositoryNotFoundError
        return (
            f"{repo} is gated: accept its terms on https://huggingface.co/{repo} and set HF_TOKEN "
            "to a token of the account that did."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{repo} has no revision {model.revision or 'main'}: check the branch, tag or commit "
            "after the @, or leave it out for the newest."
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        try:
            files = f"it has {_some(_files(model), model.filename)}"
        except (OSError, ValueError, httpx2.HTTPError, NotTheHub):
            files = "check the name"
        return f"{repo} has no file {model.filename}: {files}."
    if isinstance(error, errors.DisabledRepoError):
        return f"{repo} has been disabled on the Hub: choose another model."
    if status == 401 and with_token and not isinstance(error, errors.RepositoryNotFoundError):
        return f"The Hub does not accept HF_TOKEN (401) for {repo}: renew the token, or unset it."
    if status in (401, 403) or isinstance(error, errors.RepositoryNotFoundError):
        private = "check that HF_TOKEN" if with_token else "set HF_TOKEN to a token that"
        return (
            f"The Hub shows no repository {repo} (missing and private ones look the same): check "
            f"the spelling, and if it is private, {private} may read it."
        )
    if status == 429:
        return (
            f"The Hub is receiving too many requests from here (429) to send {where}: wait a few "
            f"minutes{'' if with_token else ', or set HF_TOKEN for a higher limit'}."
        )
    if status >= 500:
        return f"The Hub is in trouble ({status}) and did not send {where}: try again later."
    return f"The Hub refused to send {where} ({status}): check its page and try again later."


def _where(model: Model) -> str:
    revision = f"@{model.revision}" if model.revision else ""
    return "/".join(filter(None, (model.repo, model.filename))) + revision


def _shown(text: object) -> str:
    """Somebody's text, fit for a message: quoted, one short line, no markup, no token."""
    return f"'{_clean(text)}'" if isinstance(text, str) else f"({type(text).__name__})"


def _clean(text: str) -> str:
    text = re.sub(r"hf_\w{8,}", "hf_***", text[:1000])
    text = re.sub(r"[^\w ./@:+=~()-]", "?", text)
    return f"{text[:77]}..." if len(text) > 80 else text


def _list(models: Mapping[str, Model], most: int = 5) -> str:
    """The first names and the owner's, which are known nowhere else, before others."""
    names = sorted(models, key=lambda name: name in list(CATALOGUE)[1:])
    if len(names) < 3:
        return f"choose {' or '.join(names)}"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"choose among {', '.join(names[:most])}{more}"


def _guess(name: object, models: Mapping[str, Model]) -> str:
    # Cut short: comparing takes time that grows with the square of the length.
    close = difflib.get_close_matches(name[:100], models) if isinstance(name, str) else []
    return f" (perhaps {close[0]} is meant)" if close else ""


def _some(files: list[str], like: str | None = None, most: int = 5) -> str:
    """The first few names of a list, those that resemble `like` and checkpoints before others."""

    def rank(file: str) -> tuple[float, bool, str]:
        resemblance = difflib.SequenceMatcher(None, file[:200], like[:200]).ratio() if like else 0.0
        return (-resemblance, not file.lower().endswith(EXTENSIONS), file)

    names = [_clean(file) for file in sorted(files[:1000], key=rank)[:most]]
    rest = f" and {len(files) - most} more" if len(files) > most else ""
    return ", ".join(names) + rest if names else "no files"


# --- entries and places ---------------------------------------------------------------------------


_OWNER_OR_REPO = r"[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?"
_ENTRY = re.compile(
    rf"(?P<repo>{_OWNER_OR_REPO}/{_OWNER_OR_REPO})"
    r"(?:/(?P<filename>[\w.+=~()-]{1,200}(?:/[\w.+=~()-]{1,200}){0,9}))?"
    r"(?:@(?P<revision>[\w.+-]{1,100}(?:/[\w.+-]{1,100}){0,9}))?",
    re.ASCII,
)


def _parse(text: str) -> Model | None:
    """`user/repo[/folder][/file][@revision]` -> Model; None for anything else."""
    match = _ENTRY.fullmatch(text)
    if match is None:
        return None
    repo, filename, revision = match.group("repo", "filename", "revision")
    if ".." in repo or "--" in repo or repo.endswith(".git"):
        return None  # the Hub has no such names
    if filename is None and repo.endswith(EXTENSIONS):
        return None  # a path or a forgotten repository: nobody names a repository so
    if {".", ".."} & set(f"{filename}/{revision}".split("/")):
        return None
    companions = _companions(filename) if filename else ()
    return Model(text.partition("@")[0], repo, filename, revision, companions=companions)


def _companions(filename: str) -> tuple[str, ...]:
    """HuggingFace's `pytorch_model.bin` says in a config.json beside it what it is."""
    return ("config.json",) if filename.endswith(".bin") else ()


def _same_file(model: Model) -> tuple:
    return model.repo, model.filename, model.revision or "main"


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _host() -> str:
    """The Hub's address without what may be secret in it."""
    return urlsplit(_endpoint()).hostname or "HF_ENDPOINT"


def _cache_dir() -> Path:
    import huggingface_hub

    cache = os.environ.get("HF_HUB_CACHE") or huggingface_hub.constants.HF_HUB_CACHE
    return Path(os.path.expandvars(cache)).expanduser()


def _cache_shown() -> str:
    return "".join(c if c.isprintable() else "?" for c in str(_cache_dir()))


def _timeout() -> float:
    import huggingface_hub

    if "HF_HUB_ETAG_TIMEOUT" in os.environ:
        return huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT
    return TIMEOUT_S
