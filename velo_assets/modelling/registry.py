"""Model versions: which files a model is made of, which version serves, and the way back.

Belongs here: the MLflow store (runs per fold, registered versions, the aliases `champion` and `challenger`), the hashes
that guard the files. Does not belong here: whether a version deserves promotion (`promotion`), and model formats.

A version is a folder of text files (LightGBM text, JSON) and a manifest with the SHA-256 of each; the hash of the
manifest itself is kept in the store. No pickle: reading a model can't run code. Folders are named relative to the
artifact root, so a data root can be moved.

Two processes may use one registry. Changes queue on an operating-system lock beside the SQLite file, and the last step
of each is the only one that shows: a version exists when its row does, and a champion changes when the alias moves.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import math
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from velo_assets.modelling.promotion import GateDecision

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

CHAMPION = "champion"
CHALLENGER = "challenger"

MODEL_SUFFIXES = (".txt", ".json")
"""A model is text: LightGBM's own format and JSON. Anything else could hide code or a format nobody reads in a year."""

MANIFEST = "manifest.json"
EXPERIMENT = "velo"

_SQLITE = "sqlite:///"
_POLL_SECONDS = 0.05
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TAG = "velo."


class RegistryError(RuntimeError):
    """The registry can't do what was asked: says why and what to do."""


class RegistryMissingError(RegistryError):
    """There is no store, model or version of that name."""


class RegistryLockedError(RegistryError):
    """Another process held the store for longer than the caller was willing to wait."""


class HashMismatchError(RegistryError):
    """A model file is not the one that was registered."""


class PromotionRefusedError(RegistryError):
    """The gate refused, or its decision is about another version or an earlier champion."""


@dataclass(frozen=True)
class ModelMetadata:
    """Where a model comes from.

    Attributes:
        data_start: first race date of the training window.
        data_end: last race date of it.
        git_commit: of the code.
        feature_catalogue_sha256: hash of the feature names and definitions the model reads.
        price_kind: kind of the prices it reads; `none` for a price-free model.
        metrics: out-of-sample figures; those not finite count as not measured.
        parameters: settings worth reading without opening a file.
    """

    data_start: date
    data_end: date
    git_commit: str
    feature_catalogue_sha256: str
    price_kind: str
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            **asdict(self),
            "data_start": self.data_start.isoformat(),
            "data_end": self.data_end.isoformat(),
            "metrics": {name: value if _is_number(value) else None for name, value in self.metrics.items()},
        }


@dataclass(frozen=True)
class RegisteredModel:
    """One version of a model.

    Attributes:
        name: of the model.
        version: 1, 2, ...
        aliases: `champion`, `challenger`, or none for an archived version.
        run_id: MLflow run that holds the files and metrics.
        folder: of the files, relative to the artifact root.
        manifest_sha256: hash the manifest must have.
        registered_at: when.
        metadata: as given at registration.
        decision: the gate's latest decision about it, as `GateDecision.to_dict`; None if it was never tried.
        previous_champion: version it replaced when promoted; None if it never was or there was none.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str
    folder: str
    manifest_sha256: str
    registered_at: datetime
    metadata: dict[str, Any]
    decision: dict[str, Any] | None
    previous_champion: int | None

    @property
    def label(self) -> str:
        """Name and version, the name under which the gate must have tried it: `velo_blend 3`."""
        return f"{self.name} {self.version}"

    @property
    def status(self) -> str:
        """`champion`, `challenger` or `archived`."""
        return next((alias for alias in (CHAMPION, CHALLENGER) if alias in self.aliases), "archived")


@dataclass(frozen=True)
class ModelRegistry:
    """The MLflow store on SQLite and the folder of model files.

    Importing MLflow costs 4 to 7 seconds and happens at the first call, not at import of this module; the tables of a
    new store take another 2 to 4 seconds, once. A run or a version then costs about a tenth of a second.

    Attributes:
        tracking_uri: `sqlite:///<path>`.
        artifact_root: folder of all run files.
        lock_timeout_seconds: how long to wait for another process.
    """

    tracking_uri: str
    artifact_root: Path
    lock_timeout_seconds: float = 60.0

    @property
    def database(self) -> Path:
        """Path of the SQLite file.

        Raises:
            RegistryError: if the URI is not a SQLite file.
        """
        if not self.tracking_uri.startswith(_SQLITE):
            raise RegistryError(
                f"model registry: {self.tracking_uri!r} is not a SQLite store; MLflow no longer takes folders, "
                "give sqlite:///path/to/mlflow.db"
            )
        return Path(self.tracking_uri.removeprefix(_SQLITE))

    def exists(self) -> bool:
        """Whether there is a store already."""
        return self.database.exists()

    def log_fold(
        self,
        model_name: str,
        year: int,
        params: Mapping[str, object],
        metrics: Mapping[str, float | None],
        files: Mapping[str, bytes | str],
    ) -> str:
        """Record one model of one fold as an MLflow run.

        A night fits the running year's folds anew, on the races before the year: the same model as in the night before
        gets no run of its own, it brings the figures of the last one up to date.

        Args:
            model_name: such as `fundamental`.
            year: of the fold.
            params: settings.
            metrics: figures; None and NaN are left out, because MLflow has no missing value.
            files: by relative name; any format, they are a record and are never loaded as a model. Its texts say
                whether a model is the same, pictures do not.

        Returns:
            The run id.

        Raises:
            RegistryError: on a bad name.
            RegistryLockedError: if the store stayed locked.
        """
        _check_name(model_name)
        contents = _check_files(files, suffixes=None)
        texts = {name: content for name, content in files.items() if isinstance(content, str)}
        model = json.dumps([model_name, year, texts], sort_keys=True)
        model_hash = hashlib.sha256(model.encode()).hexdigest()
        with self._writing(f"log fold {year} of {model_name}") as client:
            last = self._last_fold(client, model_name, year)
            if last is not None and last.data.tags.get(_TAG + "model_hash") == model_hash:
                same: str = last.info.run_id
                client.log_batch(same, metrics=_measured(metrics))
                return same
            run_id, _ = self._run(client, f"{model_name} {year}", params, metrics, contents)
            client.set_tag(run_id, _TAG + "fold", str(year))
            client.set_tag(run_id, _TAG + "model", model_name)
            client.set_tag(run_id, _TAG + "model_hash", model_hash)
            client.set_terminated(run_id)
        return run_id

    def register(self, model_name: str, files: Mapping[str, bytes | str], metadata: ModelMetadata) -> int:
        """Store a new version and make it the challenger. Either the whole version is there, or nothing.

        Args:
            model_name: letters, digits, `_` and `-`.
            files: `.txt` and `.json` by relative name.
            metadata: where the model comes from.

        Returns:
            The version number.

        Raises:
            RegistryError: on a bad name, no files, a file that is not text or not of those kinds.
            RegistryLockedError: if the store stayed locked.
        """
        _check_name(model_name)
        contents = _check_files(files, suffixes=MODEL_SUFFIXES)
        manifest = json.dumps(
            {
                "model": model_name,
                "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())},
                "metadata": metadata.to_dict(),
            },
            indent=2,
            sort_keys=True,
        ).encode()
        with self._writing(f"register {model_name}") as client:
            run_id, folder = self._run(
                client,
                f"register {model_name}",
                metadata.parameters,
                metadata.metrics,
                {**contents, MANIFEST: manifest},
            )
            try:
                self._create_model(client, model_name)
                tags = {
                    "folder": folder.relative_to(self.artifact_root.resolve()).as_posix(),
                    "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
                    "metadata": json.dumps(metadata.to_dict()),
                }
                created = client.create_model_version(
                    model_name,
                    source=str(folder),
                    run_id=run_id,
                    tags={_TAG + key: value for key, value in tags.items()},
                )
            except BaseException:
                client.set_terminated(run_id, status="FAILED")
                shutil.rmtree(folder, ignore_errors=True)
                raise
            client.set_terminated(run_id)
            client.set_registered_model_alias(model_name, CHALLENGER, str(created.version))
        return int(created.version)

    def record_decision(self, name: str, version: int, decision: GateDecision) -> None:
        """Keep the gate's decision with the version it is about, promoted or refused, for `promote` and the reports.

        Raises:
            PromotionRefusedError: if the decision is about another version.
            RegistryMissingError: if there is no such version.
        """
        with self._writing(f"record the gate's decision on {name} {version}") as client:
            _check_subject(self._version(client, name, version), decision)
            client.set_model_version_tag(name, str(version), _TAG + "decision", json.dumps(decision.to_dict()))

    def promote(self, name: str, version: int, decision: GateDecision | None = None) -> RegisteredModel:
        """Make a version the champion, on the strength of a decision of the gate about exactly this step.

        Args:
            name: of the model.
            version: to be champion.
            decision: its `challenger` must be the version's `label`, and its `reference` the label of today's champion
                (or a market recipe while there is none). None: the one that `record_decision` kept.

        Returns:
            The new champion.

        Raises:
            PromotionRefusedError: if the gate refused, decided about another pair of versions, or did not decide yet.
            RegistryMissingError: if there is no such version.
            HashMismatchError: if the version's files are not the registered ones.
        """
        with self._writing(f"promote {name} {version}") as client:
            model = self._version(client, name, version)
            champion = self._by_alias(client, name, CHAMPION)
            if decision is None and model.decision is not None:
                decision = GateDecision.from_dict(model.decision)
            if decision is None:
                raise PromotionRefusedError(
                    f"{model.label} was never tried at the gate; `velo train` makes a version that is"
                )
            _check_subject(model, decision)
            if not decision.promoted:
                raise PromotionRefusedError(f"{model.label} stays out: {decision.summary}")
            if champion is not None and champion.version == version:
                return champion
            if champion is None and not decision.reference.startswith("market"):
                raise PromotionRefusedError(
                    f"the decision compares with {decision.reference!r}, but {name} has no champion; `velo train` "
                    "makes a version that is held against the market"
                )
            if champion is not None and decision.reference != champion.label:
                raise PromotionRefusedError(
                    f"the decision compares with {decision.reference!r}, but the champion is now {champion.label!r}; "
                    "`velo train` makes a version that is held against it"
                )
            self._read(model)
            client.set_model_version_tag(name, str(version), _TAG + "decision", json.dumps(decision.to_dict()))
            if champion is not None:
                client.set_model_version_tag(name, str(version), _TAG + "previous_champion", str(champion.version))
            client.set_registered_model_alias(name, CHAMPION, str(version))
            if CHALLENGER in model.aliases:
                client.delete_registered_model_alias(name, CHALLENGER)
            return self._version(client, name, version)

    def rollback(self, name: str) -> RegisteredModel:
        """Make the version that the champion replaced the champion again.

        Returns:
            The champion after the rollback.

        Raises:
            RegistryMissingError: if there is no champion, or it replaced none.
            HashMismatchError: if the files of the version to return to are not the registered ones.
        """
        with self._writing(f"roll back {name}") as client:
            champion = self._by_alias(client, name, CHAMPION)
            if champion is None:
                raise RegistryMissingError(f"{name} has no champion, so there is nothing to roll back")
            if champion.previous_champion is None:
                raise RegistryMissingError(
                    f"{champion.label} is the first champion; there is none before it to return to"
                )
            earlier = self._version(client, name, champion.previous_champion)
            self._read(earlier)
            client.set_model_version_tag(
                name, str(champion.version), _TAG + "rolled_back_at", datetime.now(UTC).isoformat(timespec="seconds")
            )
            client.set_registered_model_alias(name, CHAMPION, str(earlier.version))
            return self._version(client, name, earlier.version)

    def retire(self, name: str) -> RegisteredModel:
        """Set the champion aside, so that the version trained next is held against the market.

        For a champion that nothing can be compared with any more: its prices are other than today's, or its stored
        predictions are lost. Where nobody is on trial it becomes the challenger, which predicts on trial.

        Returns:
            The version that was champion.

        Raises:
            RegistryMissingError: if there is no champion.
        """
        with self._writing(f"retire the champion of {name}") as client:
            champion = self._by_alias(client, name, CHAMPION)
            if champion is None:
                raise RegistryMissingError(f"{name} has no champion, so there is nobody to retire")
            client.set_model_version_tag(
                name, str(champion.version), _TAG + "retired_at", datetime.now(UTC).isoformat(timespec="seconds")
            )
            if CHALLENGER not in self._aliases(client, name):
                client.set_registered_model_alias(name, CHALLENGER, str(champion.version))
            client.delete_registered_model_alias(name, CHAMPION)
            return self._version(client, name, champion.version)

    def next_version(self, name: str) -> int:
        """Number that the version registered next will have, unless another process comes first."""
        return 1 + max((model.version for model in self.list(name)), default=0) if self.exists() else 1

    def champion(self, name: str) -> RegisteredModel | None:
        """The serving version; None when none was promoted yet.

        Raises:
            RegistryMissingError: if there is no store.
        """
        with self._reading() as client:
            return self._by_alias(client, name, CHAMPION)

    def challenger(self, name: str) -> RegisteredModel | None:
        """The newest version on trial; None when there is none.

        Raises:
            RegistryMissingError: if there is no store.
        """
        with self._reading() as client:
            return self._by_alias(client, name, CHALLENGER)

    def list(self, name: str) -> list[RegisteredModel]:
        """All versions of a model, oldest first; empty when it has none.

        Raises:
            RegistryMissingError: if there is no store.
        """
        _check_name(name)
        with self._reading() as client:
            aliases = self._aliases(client, name)
            found = client.search_model_versions(f"name='{name}'", max_results=10_000)
            return sorted((self._model(item, aliases) for item in found), key=lambda model: model.version)

    def load_files(self, name: str, version: int | str) -> dict[str, str]:
        """Texts of a version's files, each checked against its hash.

        Args:
            name: of the model.
            version: number, or the alias `champion` or `challenger`.

        Raises:
            RegistryMissingError: if there is no store, model, version or file.
            HashMismatchError: if a file or the manifest is not the registered one.
        """
        with self._reading() as client:
            if isinstance(version, int) or version.isdigit():
                model = self._version(client, name, int(version))
            else:
                found = self._by_alias(client, name, version)
                if found is None:
                    raise RegistryMissingError(f"{name} has no version with the alias {version!r}")
                model = found
        return self._read(model)

    def _read(self, model: RegisteredModel) -> dict[str, str]:
        folder = self.artifact_root / model.folder
        manifest = _read_checked(folder / MANIFEST, model.manifest_sha256, model.label)
        hashes: dict[str, str] = json.loads(manifest)["files"]
        return {name: _read_checked(folder / name, sha256, model.label).decode() for name, sha256 in hashes.items()}

    @staticmethod
    def _last_fold(client: MlflowClient, model_name: str, year: int) -> Run | None:
        """The last whole run of one model of one fold."""
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return None
        found = client.search_runs(
            [experiment.experiment_id],
            f"attributes.status = 'FINISHED' and tags.`{_TAG}model` = '{model_name}' and tags.`{_TAG}fold` = '{year}'",
            max_results=1,
            order_by=["attributes.start_time desc"],
        )
        return found[0] if found else None

    def _run(
        self,
        client: MlflowClient,
        run_name: str,
        params: Mapping[str, object],
        metrics: Mapping[str, float | None],
        contents: Mapping[str, bytes],
    ) -> tuple[str, Path]:
        """An open run with its files on disk: its id and the folder of its files."""
        from mlflow.entities import Param

        experiment = client.get_experiment_by_name(EXPERIMENT)
        root = self.artifact_root.resolve()
        identity = (
            experiment.experiment_id
            if experiment is not None
            else client.create_experiment(EXPERIMENT, artifact_location=str(root))
        )
        run = client.create_run(identity, run_name=run_name)
        run_id: str = run.info.run_id
        folder = root / run_id / "artifacts"
        try:
            for name, content in contents.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            client.log_batch(
                run_id,
                metrics=_measured(metrics),
                params=[Param(name, str(value)) for name, value in params.items()],
            )
        except BaseException:
            client.set_terminated(run_id, status="FAILED")
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return run_id, folder

    @staticmethod
    def _create_model(client: MlflowClient, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _aliases(self, client: MlflowClient, name: str) -> dict[str, int]:
        from mlflow.exceptions import MlflowException

        try:
            return {alias: int(number) for alias, number in client.get_registered_model(name).aliases.items()}
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise

    def _by_alias(self, client: MlflowClient, name: str, alias: str) -> RegisteredModel | None:
        _check_name(name)
        number = self._aliases(client, name).get(alias)
        return None if number is None else self._version(client, name, number)

    def _version(self, client: MlflowClient, name: str, version: int) -> RegisteredModel:
        from mlflow.exceptions import MlflowException

        _check_name(name)
        try:
            found = client.get_model_version(name, str(version))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise RegistryMissingError(f"there is no version {version} of {name} in {self.database}") from error
            raise
        return self._model(found, self._aliases(client, name))

    def _model(self, found: Any, aliases: Mapping[str, int]) -> RegisteredModel:
        tags = {key.removeprefix(_TAG): value for key, value in found.tags.items()}
        version = int(found.version)
        if "manifest_sha256" not in tags:
            raise RegistryError(
                f"{found.name} {version} in {self.database} was not registered by VELO: it carries no manifest hash"
            )
        return RegisteredModel(
            name=found.name,
            version=version,
            aliases=tuple(sorted(alias for alias, number in aliases.items() if number == version)),
            run_id=found.run_id,
            folder=tags["folder"],
            manifest_sha256=tags["manifest_sha256"],
            registered_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
            metadata=json.loads(tags["metadata"]),
            decision=json.loads(tags["decision"]) if "decision" in tags else None,
            previous_champion=int(tags["previous_champion"]) if "previous_champion" in tags else None,
        )

    @contextmanager
    def _reading(self) -> Iterator[MlflowClient]:
        if not self.exists():
            raise RegistryMissingError(
                f"there is no model registry at {self.database}; train and register a model first, or point VELO_DATA "
                "at the data root that has one"
            )
        self._probe("pragma schema_version")
        with self._translated():
            yield self._client()

    @contextmanager
    def _writing(self, purpose: str) -> Iterator[MlflowClient]:
        self.database.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(purpose):
            if self.exists():
                self._probe("begin immediate")
            with self._translated():
                yield self._client()

    def _client(self) -> MlflowClient:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        # Their INFO lines about tables and migrations would drown ours.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        return MlflowClient(self.tracking_uri, registry_uri=self.tracking_uri)

    def _probe(self, statement: str) -> None:
        """Find a locked or broken file here: MLflow would retry for hours on the one, and trace back on the other."""
        connection = sqlite3.connect(self.database, timeout=self.lock_timeout_seconds, isolation_level=None)
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise RegistryLockedError(
                    f"{self.database} stayed locked for {self.lock_timeout_seconds:g} s by a program outside VELO "
                    "(an MLflow server, a database browser); close it or wait"
                ) from error
            raise RegistryError(f"can't open the model registry {self.database}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise RegistryError(
                f"{self.database} is not a SQLite database ({error}); move it away, the next run makes a new registry"
            ) from error
        finally:
            connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """MLflow's own error for a database that is locked in mid-work becomes ours."""
        try:
            yield
        except RegistryError:
            raise
        except Exception as error:
            if "database is locked" in str(error):
                raise RegistryLockedError(
                    f"{self.database} was locked by another program; nothing was changed"
                ) from error
            raise

    @contextmanager
    def _locked(self, purpose: str) -> Iterator[None]:
        path = self.database.with_name(self.database.name + ".lock")
        deadline = time.monotonic() + self.lock_timeout_seconds
        with path.open("a+") as handle:
            while not _try_lock(handle.fileno()):
                if time.monotonic() > deadline:
                    handle.seek(0)
                    raise RegistryLockedError(
                        f"waited {self.lock_timeout_seconds:g} s for the model registry {self.database}: held by "
                        f"{handle.read().strip() or 'another process'}; wait for it to finish, or stop it"
                    )
                time.sleep(_POLL_SECONDS)
            handle.seek(0)
            handle.truncate()
            handle.write(f"process {os.getpid()} ({purpose})")
            handle.flush()
            # Closing the file releases the lock, also when the process is killed.
            yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def _measured(metrics: Mapping[str, float | None]) -> list[Metric]:
    """MLflow's metrics of this moment, those that were measured."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(name, float(value), now, 0) for name, value in metrics.items() if value is not None and _is_number(value)
    ]


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _check_subject(model: RegisteredModel, decision: GateDecision) -> None:
    if decision.challenger != model.label:
        raise PromotionRefusedError(
            f"the decision is about {decision.challenger!r}, not about {model.label!r}; hand over the version's own"
        )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise RegistryError(f"{name!r} is no model name; use letters, digits, _ and -")


def _check_files(files: Mapping[str, bytes | str], suffixes: tuple[str, ...] | None) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for name, content in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.name or name == MANIFEST:
            raise RegistryError(f"{name!r} is no file name for a model; give a relative name other than {MANIFEST}")
        if suffixes is not None and path.suffix not in suffixes:
            raise RegistryError(
                f"{name!r}: model files are text, with the suffix {' or '.join(suffixes)}; never a pickle"
            )
        contents[name] = content.encode() if isinstance(content, str) else content
        if suffixes is not None:
            try:
                contents[name].decode()
            except UnicodeDecodeError as error:
                raise RegistryError(f"{name!r} is not UTF-8 text ({error}); store the model as text") from error
    if suffixes is not None and not contents:
        raise RegistryError("a model needs at least one file")
    return contents


def _read_checked(path: Path, sha256: str, label: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise RegistryMissingError(f"{label}: the file {path} is gone; restore it or roll back") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise HashMismatchError(
            f"{label}: {path} has SHA-256 {found[:12]}..., registered was {sha256[:12]}...: the file was changed after "
            "registration; restore it, or roll back to another version"
        )
    return content
