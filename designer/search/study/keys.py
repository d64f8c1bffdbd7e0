"""All keys of the attributes that a study and its trials store.

The values never change: studies that were written before must continue.
"""

from __future__ import annotations

# --- attributes of a study ---

IDENTITY = "identity"
"""Settings, space and data, all of which must be equal to continue the study."""

WANTED = "trials_wanted"
"""Number of finished trials that the study has in the end; it may grow while workers work."""

STAGE = "stage"
"""The phase that the study is in, or that it is done."""

HANDSHAKE = "plan"
"""What workers on other machines need to take part."""

LEADER = "leader"
"""Name of the leading process and its heartbeat; empty without a leader."""

# --- attributes of a trial ---

WORKER = "worker"
"""Name of the process that runs the trial."""

HEARTBEAT = "pulse"
"""Count that the worker of a trial increases for as long as it is alive."""

SPEC = "spec"
"""The architecture and its learning rate."""

RECORD = "record"
"""The values of ``designer.search.study.records.Measurements``."""

EMERGENCE = "emergence"
"""Curves of D during a confirmation run."""

LOSSES = "losses"
"""Mean training loss of every epoch of a confirmation run."""

REASON = "reason"
"""Why the trial failed or was pruned."""

REJECTED = "rejected"
"""Why the trial was handed back without training; it counts neither as finished nor as failed."""

LOST = "lost"
"""True if the trial was handed back because its run was stopped or killed: the sampler proposes it
again."""

RETRY_OF = "retry_of"
"""Number of the trial that this one repeats, because its worker was gone."""

CONFIRMS = "confirms"
"""Number of the trial that this one trains again."""

SEED = "seed"
"""Seed of a confirmation run."""

EPOCHS = "epochs"
"""Epochs of a confirmation run."""

EDITS = "edits"
"""Edits that led from the architecture of that trial to the one that is trained."""

CONFIRMATION_KEYS = (CONFIRMS, EDITS, SEED, EPOCHS)
"""Which candidate a trial trains again, and how."""

ENQUEUED_PARAMETERS = "fixed_params"
"""Optuna's own system attribute: parameters of a trial that was enqueued and not begun."""
