"""Claims on ranking, searching, diagnosing and editing architectures."""

from __future__ import annotations

from benchmarks.claims.edits import ADVISED, RANDOM
from benchmarks.claims.payoff_searches import NSGA2, OURS, REFERENCE
from benchmarks.evidence import advice, diagnosis, edits, peers, receptive_field
from benchmarks.evidence.criterion import (
    LEAD_EPOCHS,
    TOP_HALF,
    beside_accuracy,
    full_size_pools,
    kinds_of_networks,
    means,
    untouched_pools,
    verdict_words,
)
from benchmarks.evidence.markdown import AHEAD, difference
from benchmarks.evidence.payoff import (
    half_is_enough,
    mean_regret,
    payoffs,
    searches_near,
    settings_with_half,
)
from benchmarks.evidence.statement import Page, Statement, marked, verdict_of
from benchmarks.result_files import read_result

IN_TABLE = {REFERENCE: "TPE with MedianPruner", "TPE, Hyperband": "TPE with Hyperband"}
"""Searches whose names hold a comma."""

ARMS = (OURS, *IN_TABLE, NSGA2, "random")
"""Searches that are compared."""


def ranking() -> Statement:
    """Return how well the design score ranks architectures."""
    pools, full_size = untouched_pools(), full_size_pools()
    ahead, ahead_at_full_size = (
        [word == AHEAD for which in ("", TOP_HALF) for word in verdict_words(some, which)]
        for some in (pools, full_size)
    )
    return Statement(
        "ranking architectures",
        "After a short run the design score ranks architectures better than validation accuracy",
        (
            "Spearman with the accuracy after long training, after "
            f"{' / '.join(LEAD_EPOCHS)} epochs: {beside_accuracy(pools)}",
            f"among the better half of the architectures: {beside_accuracy(pools, TOP_HALF)}",
            f"means over {len(pools)} pools of {kinds_of_networks()}, not used for tuning",
            marked(
                f"CNNs and ResNets on CIFAR-10 at full size: {beside_accuracy(full_size)}; among "
                f"the better half {beside_accuracy(full_size, TOP_HALF)}",
                met=all(ahead_at_full_size),
            ),
            f"there, adherence to the law alone {means('adherence', full_size)}, summed training "
            f"loss {means('training_loss', full_size)}",
        ),
        verdict_of(*ahead, *ahead_at_full_size),
        ("criterion",),
        (Page.SCORE,),
        "leads",
    )


def searching() -> Statement:
    """Return what the search finds in how much time."""
    results = payoffs()
    regrets = {arm: mean_regret(results, arm) for arm in ARMS}
    half = mean_regret(results, OURS, "0.5")
    near = {arm: searches_near(results, arm) for arm in ARMS}
    enough = settings_with_half(results)
    return Statement(
        "saving time in a search",
        f"In half the processor time the search finds what {IN_TABLE[REFERENCE]} finds",
        (
            "points of test accuracy below the best known, at equal time: "
            + ", ".join(
                f"{IN_TABLE.get(arm, arm)} {regret:.2f}"
                for arm, regret in regrets.items()
                if regret is not None
            )
            + (f"; designer at half the time {half:.2f}" if half is not None else ""),
            marked(
                f"half the time is {'' if half_is_enough(results) else 'not '}enough on average, "
                f"but only in {enough} of {len(results)} settings"
                if enough < len(results)
                else f"half the time is enough in all {len(results)} settings",
                met=enough == len(results),
            ),
            f"searches within half a point of the best known, of {near[OURS][1]}: "
            + ", ".join(f"{IN_TABLE.get(arm, arm)} {count}" for arm, (count, _) in near.items()),
        ),
        verdict_of(half_is_enough(results), enough == len(results)),
        ("payoff",),
        (Page.SEARCH,),
        "payoff",
    )


def diagnosing() -> Statement:
    """Return which defects are named, beside other tools."""
    groups = diagnosis.all_groups()
    named = [
        f"{words} {groups[name]['named']} of {groups[name]['networks']}"
        for name, words in diagnosis.NAMED.items()
    ]
    wrong = diagnosis.false_alarms(groups)
    named_by, alarms = peers.figures()
    return Statement(
        "saying what is wrong with a network",
        "The diagnosis names what is wrong with a network, and is silent on healthy ones",
        (
            f"defects of whole networks that are named: {', '.join(named)}; of the blocks of "
            f"healthy networks it advises to change {wrong:.1%} (at most "
            f"{diagnosis.FALSE_ALARMS:.0%} wanted)",
            marked(named_by, met=peers.names_most()),
            marked(alarms, met=peers.is_quietest()),
            marked(receptive_field.figure(), met=receptive_field.is_shown()),
        ),
        verdict_of(
            diagnosis.defects_are_named(groups),
            wrong <= diagnosis.FALSE_ALARMS,
            peers.names_most(),
            peers.is_quietest(),
            receptive_field.is_shown(),
        ),
        ("diagnosis", "peers", "receptive_field"),
        (Page.ADVICE,),
    )


def editing() -> Statement:
    """Return what edits are worth, and the order of the report."""
    whole = read_result(edits.FILE)["groups"]["all"]
    advised, level = whole["arms"][ADVISED], whole["runs_until_level"]
    return Statement(
        "improving an architecture",
        "Edits that the search keeps make networks smaller at no loss of test accuracy, with fewer "
        "training runs in the order of the report",
        (
            f"{advised['better']} of {advised['changed']} networks are smaller and at most half a "
            f"point less accurate, or surely more accurate; on average {advised['size']:.0%} of "
            f"the parameters are left and test accuracy changes by "
            f"{difference(advised['test_change'], 100, 1)} points",
            f"training runs until networks are equally small: advised order {level[ADVISED]:.1f}, "
            f"random order {level[RANDOM]:.1f}, a share of {level['ratio']:.0%} (at most "
            f"{edits.RUNS_SHARE:.0%} wanted)",
            marked(advice.figure(), met=advice.is_worth_more()),
        ),
        verdict_of(
            edits.better_share(whole) >= edits.GOOD_SHARE,
            level["ratio"] <= edits.RUNS_SHARE,
            advice.is_worth_more(),
        ),
        ("edits", "advice"),
        (Page.ADVICE,),
    )
