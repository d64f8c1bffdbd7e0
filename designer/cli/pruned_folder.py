"""The folder that `designer prune` writes: the smaller model and its report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from designer.analysis.data_for_model import all_data_for_model, data_warnings
from designer.choices import DataPart
from designer.cli.options import Format
from designer.cli.output import show_report, write_report
from designer.data.dataset import BatchedData, Dataset
from designer.errors import ModelError
from designer.folders import HTML_FILE, MARKDOWN_FILE, PRUNED_FILE, REPORT_FILE, WEIGHTS_FILE
from designer.models.loaded import LoadedModel
from designer.models.pretrained import is_pretrained
from designer.models.pruned import check_folder, pruned_files
from designer.pruning.options import PruningOptions
from designer.pruning.prune import PruningResult
from designer.report.views.dispatch import view_of
from designer.results.layers import ReportWarning
from designer.training.devices import usable_device
from designer.training.trainer import single_threaded

LIBRARY_FOLDER = "hf"
"""Folder for ``from_pretrained`` in that of a pruned model of transformers."""

SMALL = 1_000_000
"""A network with fewer parameters than this gains nothing from several threads."""


@dataclass(frozen=True, eq=False)
class PrunedFolder:
    """The folder of a pruned model, with the model and the data that it is made from."""

    folder: Path
    """Folder to write to."""
    source: LoadedModel
    """The whole model, on the device that the user chose."""
    weights: Path | None
    """File that the weights were read from; None where they came with the model."""
    data: Dataset | BatchedData
    """Data that the model is pruned on."""
    doubts: tuple[ReportWarning, ...]
    """Warnings about the data, and about whether they are those of the model."""

    files: ClassVar[tuple[str, ...]] = (
        WEIGHTS_FILE,
        PRUNED_FILE,
        REPORT_FILE,
        MARKDOWN_FILE,
        HTML_FILE,
    )
    """Names of the files that are written."""

    @classmethod
    def prepare(
        cls,
        folder: Path,
        source: LoadedModel,
        weights: Path | None,
        data: str | None,
        data_options: Mapping[str, Any],
        device: str,
    ) -> PrunedFolder:
        """Load the data of a model, and check that the folder may be written.

        Args:
            folder: folder to write to.
            source: the whole model; it is moved to the device.
            weights: file that its weights were read from; None where they came with the model.
            data: data set as ``--data`` names it; None for the data named in the model's folder.
            data_options: options of loading by name, None where the user named no value. Without
                a scaling, a model is fed as it records, else with the data as they come.
            device: torch device that the model is moved to.

        Raises:
            InvalidInputError: if the data or the folder cannot be used, or the model is clearly
                right under another scaling than the default.
        """
        check_folder(folder, source)
        source.model.to(usable_device(device))
        loaded = all_data_for_model(source, data, **data_options)
        if isinstance(loaded, BatchedData):
            return cls(folder, source, weights, loaded, ())
        scaling = data_options["scaling"]
        doubts = data_warnings(source, loaded, DataPart.VALIDATION, scaling=scaling)
        return cls(folder, source, weights, loaded, (*loaded.warnings, *doubts))

    def completed(self, options: PruningOptions, learning_rate: float | None) -> PruningOptions:
        """Return the options, completed by what only the model knows.

        Args:
            options: options of the command line.
            learning_rate: learning rate that the user chose; None for the rate that the model was
                trained with, or that of ``options`` where it is not known.

        Returns:
            The options with the learning rate of recovery, and with a function that builds the
            model anew for the network that is trained from scratch.
        """
        rate = self.source.learning_rate if learning_rate is None else learning_rate
        recovery = options.recovery
        if rate is not None:
            recovery = replace(recovery, learning_rate=rate)
        return replace(options, recovery=recovery, build=self.source.again)

    def write(self, result: PruningResult, command: str) -> PruningResult:
        """Write the model and its report, and return the result with its origin filled in.

        Args:
            result: what pruning returned.
            command: the command line as the user typed it, for the report.

        Raises:
            RunFolderError: if the folder cannot be written.
        """
        weights = None if self.weights is None else self.weights.name
        library_files, problems = self._library_files(result)
        report = replace(
            result.report,
            model=replace(result.report.model, name=self.source.name, weights=weights),
            data=replace(result.report.data, scaling=self._scaling),
            warnings=(*self.doubts, *problems, *result.report.warnings),
            command=command,
        )
        model = pruned_files(self.folder, result.model, self.source, result.removals, self.data)
        write_report(self.folder, report, {**model, **library_files})
        if not library_files:  # there may be one of an earlier pruning
            shutil.rmtree(self.folder / LIBRARY_FOLDER, ignore_errors=True)
        return replace(result, report=report)

    def _library_files(
        self, result: PruningResult
    ) -> tuple[dict[Path, bytes], tuple[ReportWarning, ...]]:
        """Return what transformers reads, for a model of it, and a warning if it cannot."""
        if not is_pretrained(result.model):
            return {}, ()
        prefix, _, origin = str(self.source.origin.get("factory", "")).partition(":")
        try:
            files = result.pretrained_files(Path(origin) if prefix == "hf" else None)
        except ModelError as error:
            return {}, (
                ReportWarning(
                    "not_pretrained",
                    f"There is no folder for from_pretrained beside the smaller model: {error}",
                ),
            )
        return {self.folder / LIBRARY_FOLDER / name: file for name, file in files.items()}, ()

    @property
    def written(self) -> list[str]:
        """Names of what was written."""
        library = self.folder / LIBRARY_FOLDER
        return [*self.files, *([f"{LIBRARY_FOLDER}/"] if library.is_dir() else [])]

    @property
    def _scaling(self) -> str:
        """How inputs were scaled, a value of ``Scaling``; empty for batches."""
        return str(self.data.options.get("scaling", "")) if isinstance(self.data, Dataset) else ""

    def show(self, result: PruningResult, form: Format) -> None:
        """Print the report to stdout."""
        show_report(view_of(result.report), result.report, form)


def few_threads(model: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which a small network runs in one thread, a large one as before.

    In a small network, several threads would only wait for each other.
    """
    small = sum(p.numel() for p in model.parameters()) < SMALL
    return single_threaded() if small else nullcontext()
