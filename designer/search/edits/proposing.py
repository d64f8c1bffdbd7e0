"""An edit as a candidate: does its space allow it, and is it within the limits of size?"""

from __future__ import annotations

from optuna import TrialPruned

from designer.models.given_trial import GivenTrial, NotAllowed
from designer.search.candidates import spec_values
from designer.search.confirmation import Candidate
from designer.search.job import Job
from designer.search.study.claims import Rejected
from designer.search.study.proposals import check_limits, measure_size, reason_of
from search_spaces.edits import Edit


def title_of(edit: Edit) -> str:
    """Return what an edit changes, with the name of the block."""
    if edit.block is None:
        return edit.kind
    return edit.kind.replace("this block", edit.block)


def edited(job: Job, parent: Candidate, edit: Edit) -> Candidate:
    """Return the candidate that an edit makes of another.

    Args:
        job: gives the space and the limits of size.
        parent: what is edited.
        edit: the change.

    Raises:
        Rejected: if the space refuses it, or it is larger than the options allow.
    """
    try:
        spec = job.space.suggest(GivenTrial(edit.params))
        size = measure_size(job, spec)
    except (NotAllowed, TrialPruned) as refusal:
        raise Rejected(str(refusal) or "its space turned it down") from refusal
    except Exception as error:  # a space may raise anything at what it cannot build
        raise Rejected(reason_of(error)) from error
    check_limits(job.options, size)
    edits = (*parent.edits, title_of(edit))
    return Candidate(parent.trial, dict(edit.params), spec_values(spec), size, edits)
