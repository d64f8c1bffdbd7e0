"""Write all figures from the files under ``benchmarks/results/``: none is typed by hand.

    python -m benchmarks.tables

The tables go to ``docs/evidence.md``, the few figures that say most to the README.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.evidence.criterion import criterion, criterion_in_short
from benchmarks.evidence.pictures import PAYOFFS, draw, shown
from benchmarks.result_files import is_measured, read_result

ROOT = Path(__file__).parents[2]
README, EVIDENCE = ROOT / "README.md", ROOT / "docs" / "evidence.md"
CLUSTER = ROOT / "docs" / "cluster.md"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

SAMPLERS = {
    "tpe_multivariate": "TPE, multivariate",
    "tpe_univariate": "TPE, univariate",
    "gp": "Gaussian process",
    "nsga2": "NSGA-II",
    "random": "random",
}
SEARCHES = {
    "search_fashion.json": "Fashion-MNIST (1,000 images of 10x10; chosen here)",
    "search_mnist.json": "MNIST (the same size)",
}
ARMS = {
    "no pruning": "TPE",
    "pruning": "TPE, pruning",
    "pruning, equal epochs": "TPE, pruning, as many epochs",
    "random, no pruning": "random",
}
PAYOFF_ARMS = {
    "designer": "design score, short runs",
    "accuracy": "validation accuracy, short runs",
    "designer, pruned": "design score, short runs, pruned",
    "accuracy, pruned": "validation accuracy, short runs, pruned",
    "designer, confirmed": "design score, half for confirming",
    "accuracy, confirmed": "validation accuracy, half for confirming",
    "median": "Optuna: TPE, MedianPruner",
    "hyperband": "Optuna: TPE, Hyperband",
    "halving": "Optuna: random, successive halving",
    "random": "Optuna: random",
}


def main() -> None:
    """Write the tables, draw the pictures, and replace what stands between the marks in README and
    cluster guide."""
    draw()
    EVIDENCE.write_text("\n".join(lines()) + "\n", encoding="utf-8")
    _between_marks(README, summary())
    _between_marks(CLUSTER, _crowds())


def _between_marks(path: Path, some: Iterator[str]) -> None:
    """Replace what stands between the two marks in a file."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(before + BEGIN + "\n" + "\n".join(some) + "\n" + END + after, encoding="utf-8")


def lines() -> Iterator[str]:
    """All tables with a sentence each."""
    yield from (
        "# The evidence",
        "",
        "Written by `python -m benchmarks.tables` from the files in `benchmarks/results/`, each of "
        "which holds its command, seeds, versions and machine.",
        "",
    )
    yield from shown("law")
    yield from _paper()
    yield from shown("leads")
    yield from criterion()
    yield from _search()
    yield from shown("payoff")
    yield from _payoff()
    yield from _separation()
    yield from _analysis()
    yield from _residual()
    yield from shown("pruning")
    yield from _pruning()
    yield from _better_order()
    yield from _max_drop()
    yield from _scaling()


def summary() -> Iterator[str]:
    """A line for each claim."""
    yield criterion_in_short()
    yield from _payoff_in_short()
    found = read_result("separation.json")
    ratios = [f"{found['against_textbook'][p]['ratio']:,.0f}" for p in ("100", "1000", "3000")]
    yield (
        f"- **What does D cost?** {' / '.join(ratios)} times less time than the textbook form at "
        f"100 / 1,000 / 3,000 features ({found['meta']['threads']} threads)."
    )
    analysis = read_result("analysis.json")
    yield (
        f"- **What does looking inside cost?** `analyze` of a ResNet-18 with intervals and nulls: "
        f"{analysis['time']['10']['ratio']:.2f} times two plain forward passes."
    )
    plain = _family(read_result("pruning_mlp.json"), "plain MLP")
    if "4" in plain["removed"]:
        accuracy, cost = plain["removed"]["4"]["accuracy"], plain["to_decide"]
        yield (
            f"- **Which blocks can go?** 4 of 10 removed from plain perceptrons, accuracy over "
            f"three data sets: held-out steps {_percent(accuracy['heldout'])}, Block Influence "
            f"{_percent(accuracy['block-influence'])}, random {_percent(accuracy['random'])}, "
            f"greedy ablation {_percent(accuracy['greedy, 5 epochs'])} at "
            f"{cost['greedy, 5 epochs'] / cost['heldout']:,.0f} times the cost of deciding; from "
            f"scratch {_percent(accuracy['from scratch'])}, whole {_percent(plain['whole'])}."
        )
    decided = _max_drop_groups()
    within, networks = (sum(group[name] for group in decided) for name in ("within", "networks"))
    yield (
        f"- **Does `--max-drop 0.01` hold?** On test data it did in {within} of {networks} "
        "networks."
    )
    yield from ("", "All tables, also where we lose: [docs/evidence.md](docs/evidence.md).")


def _family(found: dict[str, Any], family: str) -> dict[str, Any]:
    """The figures of one family over all data sets."""
    groups = found["groups"]
    return next(g for g in groups if (g["family"], g["data"]) == (family, "all"))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _paper() -> Iterator[str]:
    found = read_result("paper.json")
    meta = found["meta"]
    yield (
        "**The paper, reproduced.** What He & Su (PNAS 2023) say, and what was measured: mean ± "
        f"standard deviation over {len(meta['seeds'])} seeds, each with images of its own "
        f"({meta['network_seconds'] / 60:.0f} minutes of one core in all; "
        "`python -m benchmarks.paper --figure all`). The learning rate is tuned for every kind of "
        "network. A network is said to follow the law as the paper judges it, from r = -0.95 on; "
        "uniformity, which is 1 for equal steps, is the stricter judge. Reduction is log D of the "
        "input over that of the last block, in nats."
    )
    for name, figure in found["figures"].items():
        verdict = "Agrees." if figure["agrees"] else "Not so here."
        yield from (
            "",
            f"*{name.capitalize()}.* {figure['says']} **{verdict}**",
            "",
            "| network | rate | rho | r | uniformity | reduction | test accuracy |",
            f"|---|{'---:|' * 6}",
        )
        for condition, group in figure["conditions"].items():
            cells = [_spread(group[key]) for key in ("rho", "r", "uniformity", "total_reduction")]
            accuracy = _spread(group["test_accuracy"], 100, 1)
            yield f"| {condition} | {group['learning_rate']:g} | {' | '.join(cells)} | {accuracy} |"
        yield from _paper_notes(figure["conditions"])
    agreeing = [name for name, figure in found["figures"].items() if figure["agrees"]]
    others = [name for name in found["figures"] if name not in agreeing]
    yield from (
        "",
        f"So {len(agreeing)} of {len(found['figures'])} claims came out as the paper has them"
        + (f"; these did not: {', '.join(others)}." if others else ".")
        + " The law is a good description of trained plain networks with normalisation, and no "
        "proof of quality: labels without meaning are separated by it as well.",
        "",
    )


def _paper_notes(conditions: dict[str, Any]) -> Iterator[str]:
    """What does not fit the columns."""
    for condition, group in conditions.items():
        if "emergence" in group:
            seen = [f"{epoch}: {one['r']:+.2f}" for epoch, one in group["emergence"].items()]
            yield from ("", f"r by epoch, {condition}: {', '.join(seen)}.")
        if "inner_uniformity" in group:
            yield from (
                "",
                f"{condition}: from layer to layer r {_spread(group['inner_r'])}, uniformity "
                f"{_spread(group['inner_uniformity'])}.",
            )
        if "training_loss" in group:
            yield from (
                "",
                f"{condition}: {_spread(group['epochs'], 1, 0)} epochs, training loss "
                f"{_spread(group['training_loss'], 1, 3)}.",
            )


def _spread(one: dict[str, Any], scale: float = 1, digits: int = 2) -> str:
    if one["mean"] is None:
        return "-"
    return f"{scale * one['mean']:.{digits}f} ± {scale * one['sd']:.{digits}f}"


def _better_order() -> Iterator[str]:
    found = read_result("pruning_best.json")
    yield from (
        "",
        "**The better of two orders.** What `designer prune` does unless told otherwise: held-out "
        "steps or Block Influence, whichever leaves more validation accuracy before any training. "
        "Test accuracy in percent after recovery, and in brackets what the better order is ahead "
        "of each, with its 95 % interval over the networks (`python -m benchmarks.bench_pruning "
        "--best`). That there is a choice was decided after the transformers' table above.",
        "",
        "| network | data | gone | held-out steps | Block Influence | random | the better |",
        f"|---|---|{'---:|' * 5}",
    )
    for group in found["groups"]:
        for k, removed in group["removed"].items():
            cells = []
            for name in ("heldout", "block-influence", "random"):
                minus = removed["best_minus"][name]
                low, high = (100 * bound for bound in minus["interval"])
                cells.append(
                    f"{100 * removed['accuracy'][name]:.1f} ({100 * minus['mean']:+.1f}: "
                    f"{low:+.1f} to {high:+.1f})"
                )
            best = f"{100 * removed['accuracy']['best']:.1f}"
            yield f"| {group['family']} | {group['data']} | {k} | {' | '.join(cells)} | {best} |"


def _payoff() -> Iterator[str]:
    """True accuracy of the best so far against the compute it took."""
    files = _payoffs()
    if not files:
        return
    first = next(iter(files.values()))
    budgets = list(first["arms"]["designer"]["curve"])
    shown = [budgets[len(budgets) // 4 - 1], budgets[len(budgets) // 2 - 1], budgets[-1]]
    seeds = len(first["arms"]["designer"]["to_within_half_a_point"]["epochs"])
    yield from (
        "",
        "**Does the search pay?** Every arm searches the space `mlp` (1,000 training images of "
        f"10x10; digits as they are) with the same trainer for {budgets[-1]} epochs of training in "
        f"all, {seeds} seeds each. Regret is what the long-trained test accuracy of the best so "
        "far lacks to the best known of all arms, in points with 95 % intervals over the seeds; "
        "near is within half a point of it (`python -m benchmarks.bench_payoff`).",
    )
    for title, found in files.items():
        yield from (
            "",
            f"{title}: best known {found['best_known']:.2f} %, of {found['incumbents']} "
            f"incumbents; one long run differs from the next by {found['seed_sd']:.2f} points",
            "",
            f"| arm | regret after {' | '.join(f'{b} epochs' for b in shown)} | ever near "
            "| trials | processor seconds |",
            f"|---|{'---:|' * (len(shown) + 3)}",
        )
        for arm, row in found["arms"].items():
            cells = [_interval(row["curve"][budget], 2) for budget in shown]
            near = row["to_within_half_a_point"]
            yield (
                f"| {PAYOFF_ARMS[arm]} | {' | '.join(cells)} | {near['reached']}/{seeds} "
                f"| {row['trials']['mean']:.0f} | {row['seconds']['mean']:.0f} |"
            )
    yield from ("", *_payoff_means(files, shown), "", _payoff_says(files, budgets[-1]), "")


def _payoff_means(files: dict[str, dict[str, Any]], shown: list[str]) -> Iterator[str]:
    """Over the data sets."""
    yield from (
        f"Mean over the {len(files)} data sets, and in how many searches it ever came near:",
        "",
        f"| arm | regret after {' | '.join(f'{b} epochs' for b in shown)} | ever near "
        "| processor seconds |",
        f"|---|{'---:|' * (len(shown) + 2)}",
    )
    for arm, label in PAYOFF_ARMS.items():
        cells = [f"{_mean_regret(files, arm, budget):.2f}" for budget in shown]
        reached, searches = _near(files, arm)
        spent = f"{_seconds(files, arm):.0f}"
        yield f"| {label} | {' | '.join(cells)} | {reached}/{searches} | {spent} |"


def _payoffs() -> dict[str, dict[str, Any]]:
    """Those that were measured, by data set."""
    return {title: read_result(file) for file, title in PAYOFFS.items() if is_measured(file)}


def _mean_regret(files: dict[str, dict[str, Any]], arm: str, budget: str) -> float:
    return fmean(found["arms"][arm]["curve"][budget]["mean"] for found in files.values())


def _regret_in_time(files: dict[str, dict[str, Any]], arm: str) -> float:
    """Mean over the data sets when the quickest search ended."""
    curves = [list(found["arms"][arm]["curve_seconds"].values()) for found in files.values()]
    return fmean(curve[-1]["mean"] for curve in curves)


def _seconds(files: dict[str, dict[str, Any]], arm: str) -> float:
    """Processor time of a search, mean over the data sets."""
    return fmean(found["arms"][arm]["seconds"]["mean"] for found in files.values())


def _near(files: dict[str, dict[str, Any]], arm: str) -> tuple[int, int]:
    """Searches that ever came near, of how many."""
    found = [one["arms"][arm]["to_within_half_a_point"] for one in files.values()]
    return sum(one["reached"] for one in found), sum(len(one["epochs"]) for one in found)


def _payoff_in_short() -> Iterator[str]:
    files = _payoffs()
    if not files:
        return
    budget = list(next(iter(files.values()))["arms"]["designer"]["curve"])[-1]
    arms = ("designer", "designer, pruned", "median", "hyperband", "random")
    said = ", ".join(
        f"{PAYOFF_ARMS[arm]} {_mean_regret(files, arm, budget):.2f} "
        f"({_near(files, arm)[0]} of {_near(files, arm)[1]})"
        for arm in arms
    )
    yield (
        f"- **Does the search pay?** Points that the best found after {budget} epochs of training "
        f"lacks to the best known, mean over {len(files)} data sets, and how many searches came "
        f"within half a point: {said}. Pruning on the design score takes looks: as many epochs "
        f"cost {_seconds(files, 'designer, pruned') / _seconds(files, 'median'):.1f} times the "
        f"processor time of TPE with MedianPruner."
    )


def _payoff_says(files: dict[str, dict[str, Any]], budget: str) -> str:
    """Whether half of the compute does, and who is ahead in the end."""
    said = []
    for title, found in files.items():
        ours, theirs = (
            found["arms"][arm]["to_within_half_a_point"]["median_epochs"]
            for arm in ("designer", "median")
        )
        if ours is None:
            half = "the median search of ours never comes so near"
            half += ", nor does that one" if theirs is None else f", that one after {theirs:.0f}"
        else:
            half = f"ours takes {ours:.0f} epochs"
            half += ", that one never does" if theirs is None else f", that one {theirs:.0f}"
        said.append(f"{title}: {half}.")
    ends = {arm: _mean_regret(files, arm, budget) for arm in PAYOFF_ARMS}
    half_way = str(int(budget) // 2)
    ranked = sorted(ends, key=lambda arm: ends[arm])
    return (
        "Within half a point of the best known, against TPE with MedianPruner: "
        + " ".join(said)
        + f" So half the compute is plainly not reached. In the end {PAYOFF_ARMS[ranked[0]]} "
        f"({ends[ranked[0]]:.2f}) and {PAYOFF_ARMS[ranked[1]]} ({ends[ranked[1]]:.2f}) have the "
        f"least mean regret; {PAYOFF_ARMS['designer']} is number {ranked.index('designer') + 1} of "
        f"{len(ranked)} ({ends['designer']:.2f}). After half of the epochs the design score with "
        f"pruning is at {_mean_regret(files, 'designer, pruned', half_way):.2f}, where TPE with "
        f"MedianPruner ends at {ends['median']:.2f}; after equal processor time, as much as the "
        f"quickest search took, they are at {_regret_in_time(files, 'designer, pruned'):.2f} and "
        f"{_regret_in_time(files, 'median'):.2f}, since looking inside takes time, too. "
        "Tried to be quicker: pruning the short runs, which helps whatever is looked at but costs "
        "looks, and spending half of the epochs on longer runs of the best, which does not. On a "
        "space of small networks, where any decent perceptron comes close, which way one searches "
        "matters little beside the luck of the seed; search with the law to see what the layers "
        "do, not to save epochs."
    )


def _interval(one: dict[str, Any], digits: int) -> str:
    """Mean and interval; a dash where some search had found nothing yet."""
    if one["mean"] is None:
        return "-"
    low, high = one["interval"]
    return f"{one['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _scaling() -> Iterator[str]:
    cores, plain = read_result("scaling_cores.json"), read_result("scaling_plain.json")
    rows = plain["rows"]
    ratios = "; ".join(
        f"{row['networks']}: {row['ratio']:.2f} times, measuring {row['measuring_share']:.0%} of "
        f"a trial"
        for row in rows
    )
    yield from (
        "",
        f"**How does a search scale?** Two workers on {cores['meta']['machine']['cores']} cores "
        f"finish {cores['ratio']:.2f} times the trials per hour of one. Trials per hour over those "
        f"of a plain Optuna loop with a `DataLoader` and Adam as it comes, one thread, everything "
        f"that we measure included: {ratios}. So looking inside costs no time against that loop, "
        f"but the lead is small: most of a trial is the training itself "
        f"(`python -m benchmarks.bench_scaling`).",
        "",
    )
    yield from _crowds()
    yield from _growth()
    yield from _stacked()


def _stacked() -> Iterator[str]:
    """Several networks in one step against one by one."""
    found = read_result("scaling_stacked.json")
    ratios = ", ".join(f"{row['ratio']:.2f} at depth {row['depth']}" for row in found["rows"])
    where = (
        "one thread of a processor; no GPU could be had, which is where it is meant for"
        if found["device"] == "cpu"
        else f"one {found['device']}"
    )
    yield from (
        "",
        f"{found['networks']} perceptrons of He & Su (width 100) trained in one step for all take "
        f"this many times less time than one by one, on {where}: {ratios}.",
    )


def _growth() -> Iterator[str]:
    """What a trial costs in studies of several sizes."""
    growth = read_result("scaling_growth.json")
    yield from (
        "",
        "What a trial costs besides training, in a study that has so many trials:",
        "",
        "| storage | trials | ms in the storage | ms in all | questions |",
        "|---|---:|---:|---:|---:|",
    )
    for row in growth["rows"]:
        yield (
            f"| {row['storage']} | {row['trials']:,} | {row['ms_in_storage']:.0f} "
            f"| {row['ms_in_all']:.0f} | {row['questions']} |"
        )


def _crowds() -> Iterator[str]:
    """How much of the ideal rate many workers keep."""
    found = read_result("scaling_workers.json")
    yield from (
        f"Workers whose training is a sleep of {found['sleep']:g} s, all of them and the database "
        f"on one machine of {found['meta']['machine']['cores']} cores, which for many workers is "
        f"the limit:",
        "",
        "| storage | workers | trials per second | of the ideal |",
        "|---|---:|---:|---:|",
    )
    for row in found["rows"]:
        yield (
            f"| {row['storage']} | {row['workers']} | {row['per_second']:.1f} "
            f"| {row['of_ideal']:.0%} |"
        )


def _pruning() -> Iterator[str]:
    yield from (
        "",
        "**Which blocks can go?** Test accuracy in percent after removing 2, 4 and 6 blocks in the "
        "order of each criterion, with the same recovery (`python -m benchmarks.bench_pruning`). "
        "Spearman is with the accuracy after removing each block alone. Costs are passes of the "
        "training data through the network, a training step counted as three: to decide, and in "
        "all for the largest number of blocks. In brackets the difference that held-out steps "
        "make to it, with its 95 % interval over the networks. What an order is worth by itself "
        "shows where nothing is fitted and one training follows, as other tools do it.",
    )
    for title, group in _pruning_groups():
        counts = list(group["removed"])
        yield from (
            "",
            f"{title}: {group['networks']} networks, whole {_percent(group['whole'])}",
            "",
            f"| order | Spearman | to decide | in all | {' gone | '.join(counts)} gone "
            f"| {' gone, not fitted | '.join(counts)} gone, not fitted |",
            f"|---|{'---:|' * (3 + 2 * len(counts))}",
        )
        for name in (*group["to_decide"], "from scratch"):
            yield f"| {name} | {' | '.join(_pruning_cells(group, name, counts))} |"
    yield from ("", _pruning_means(), "", _residual_means())


def _pruning_groups() -> Iterator[tuple[str, dict[str, Any]]]:
    """Titles and groups of all files."""
    for file in ("pruning_mlp.json", "pruning_resnet.json", "pruning_vit.json"):
        for group in read_result(file)["groups"]:
            where = "all data sets" if group["data"] == "all" else group["data"]
            yield f"{group['family']}, {where}", group
    for group in read_result("pruning_mlp_14.json")["groups"]:
        if group["data"] != "all":
            yield f"{group['family']}, {group['data']}, twice the samples, 14x14 pixels", group


def _pruning_means() -> str:
    """What the table of the plain perceptrons says, in a sentence."""
    plain = _family(read_result("pruning_mlp.json"), "plain MLP")
    minus = plain["removed"]["4"]["heldout_minus"]
    points = {name: f"{100 * one['mean']:+.1f}" for name, one in minus.items()}
    cost = plain["to_decide"]
    return (
        f"So with 4 of 10 blocks gone from plain perceptrons held-out steps differ from greedy "
        f"ablation by {points['greedy, 5 epochs']} points, deciding "
        f"{cost['greedy, 5 epochs'] / cost['heldout']:,.0f} times faster; from Block Influence by "
        f"{points['block-influence']}, from steps on training data by {points['train']}, from "
        f"random blocks by {points['random']}, from the last blocks by {points['last']} and from a "
        f"network of the same size from scratch by {points['from scratch']}. Since what follows is "
        f"fitted and trained again, no order is far from the others."
    )


def _residual_means() -> str:
    """What the tables of the residual networks say, in a sentence."""
    parts = []
    for file, family in (("pruning_resnet.json", "ResNet"), ("pruning_vit.json", "ViT")):
        group = _family(read_result(file), family)
        minus = group["removed"]["4"]["heldout_minus"]
        points = {name: f"{100 * one['mean']:+.1f}" for name, one in minus.items()}
        parts.append(
            f"in the {family} held-out steps differ from Block Influence by "
            f"{points['block-influence']} points with 4 blocks gone, from greedy ablation by "
            f"{points['greedy, 1 epoch']} and from random blocks by {points['random']}"
        )
    return (
        f"In residual networks it is another matter: {'; '.join(parts)}. There a block that hardly "
        f"changes what flows past it can go, whatever its step; so the default follows the better "
        f"of the two orders."
    )


def _pruning_cells(group: dict[str, Any], name: str, counts: list[str]) -> Iterator[str]:
    spearman, cost = group["spearman"].get(name), group["to_decide"].get(name)
    yield "" if spearman is None else f"{spearman:.2f}"
    yield "" if cost is None else f"{cost:,.0f}"
    in_all = group["removed"][counts[-1]]["in_all"].get(name)
    yield "" if in_all is None else f"{in_all:,.0f}"
    for k in counts:
        removed = group["removed"][k]
        cell = f"{100 * removed['accuracy'][name]:.1f}"
        if name in removed["heldout_minus"]:
            minus = removed["heldout_minus"][name]
            low, high = (100 * bound for bound in minus["interval"])
            cell += f" ({100 * minus['mean']:+.1f}: {low:+.1f} to {high:+.1f})"
        yield cell
    for k in counts:
        unfitted = group["removed"][k]["unfitted"].get(name)
        yield "" if unfitted is None else f"{100 * unfitted:.1f}"


def _max_drop() -> Iterator[str]:
    yield from (
        "",
        "**Does `--max-drop 0.01` hold?** In how many networks the test accuracy drops by no more "
        "than a point, in how many at least a third of the blocks went, and the means "
        "(`python -m benchmarks.bench_pruning --max-drop 0.01`). That far removals are tried "
        "before near ones was decided after a first run on these data; the bounds were not. "
        "With the default, `--criterion best`.",
        "",
        "| network | data | within a point | a third gone | blocks gone | parameters left "
        "| test drop | largest | trained trials |",
        f"|---|---|{'---:|' * 7}",
    )
    for group in _max_drop_groups():
        n = group["networks"]
        yield (
            f"| {group['family']} | {group['data']} | {group['within']} of {n} "
            f"| {group['a_third_removed']} of {n} | {group['removed']:.1f} of {group['blocks']} "
            f"| {group['parameters_left']:.0%} | {100 * group['test_drop']['mean']:+.2f} "
            f"| {100 * group['largest_test_drop']:+.2f} | {group['trials_trained']:.1f} |"
        )


def _max_drop_groups() -> list[dict[str, Any]]:
    files = ("pruning_max_drop.json", "pruning_max_drop_resnet.json")
    return [group for file in files for group in read_result(file)["groups"]]


def _search() -> Iterator[str]:
    table = read_result("search_macro.json")
    yield (
        "**Which sampler?** Points of accuracy that the best of so many trials lacks to the best "
        "of the NAS-Bench-Macro table, mean of "
        f"{len(table['meta']['seeds'])} seeds (`python -m benchmarks.bench_search --table`). "
        "The designer uses multivariate TPE:"
    )
    yield from ("", "| sampler | 10 trials | 25 | 50 |", "|---|---:|---:|---:|")
    for name, label in SAMPLERS.items():
        cells = [f"{table[name][moment]['mean']:.2f}" for moment in ("10", "25", "50")]
        yield f"| {label} | {' | '.join(cells)} |"
    for file, title in SEARCHES.items():
        found = read_result(file)
        seeds = len(found["meta"]["seeds"])
        yield from ("", f"Whole searches of 25 trials on {title}, mean of {seeds} seeds, with the")
        yield "difference to TPE without pruning and its 95 % interval:"
        yield from ("", "| search | test accuracy | difference | epochs |", "|---|---:|---:|---:|")
        for name, label in ARMS.items():
            accuracy, epochs = found[name]["test_accuracy"], found[name]["epochs"]["mean"]
            low, high = accuracy["difference"]["interval"]
            yield (
                f"| {label} | {accuracy['mean']:.1f} % | {accuracy['difference']['mean']:+.2f} "
                f"({low:+.2f} to {high:+.2f}) | {epochs:.0f} |"
            )
    yield from (
        "",
        "On real training of this size no sampler is clearly ahead of random search after 25 "
        "trials, and pruning at half of the epochs saves epochs but about as much time as it "
        "takes to look inside; so it is off unless asked for (`--prune`).",
        "",
    )


def _separation() -> Iterator[str]:
    found = read_result("separation.json")
    threads = found["meta"]["threads"]
    yield (
        "**What does D cost?** Times faster than the textbook form (NumPy and SciPy, p x p "
        "matrices) on 1,000 samples of 10 classes, and the time at p = 65,536 over that of reading "
        "the features twice (`python -m benchmarks.bench_separation`):"
    )
    yield from (
        "",
        "| | p = 100 | 1,000 | 3,000 | 65,536, over reading |",
        "|---|---:|---:|---:|---:|",
    )
    for label, figures in ((f"{threads} threads", found), ("one thread", found["one_thread"])):
        against = figures["against_textbook"]
        cells = [f"{against[p]['ratio']:,.0f}x" for p in ("100", "1000", "3000")]
        yield f"| {label} | {' | '.join(cells)} | {figures['wide']['ratio']:.1f}x |"
    yield from (
        "",
        "On matrices as small as p = 100 much of the lead with several threads is what threads "
        "cost SciPy there; with one thread it is what the last row says.",
    )


def _analysis() -> Iterator[str]:
    found = read_result("analysis.json")
    ratios = [f"{row['ratio']:.2f} with {k} classes" for k, row in found["time"].items()]
    memory = found["memory"]
    yield from (
        "",
        "**What does looking inside cost?** `designer.analyze` of a ResNet-18 on 32x32 images, "
        "with nulls and intervals, takes so many times the time of two plain forward passes over "
        f"the same images: {', '.join(ratios)}. With {memory['classes']:,} classes and "
        f"{memory['images']:,} images a residual network of {memory['blocks']} blocks needs "
        f"{memory['peak_mib'] / 1024:.2f} GiB beyond the model and the images "
        "(`python -m benchmarks.bench_analysis`).",
    )


def _residual() -> Iterator[str]:
    found = read_result("residual.json")
    runs = found["runs"]
    laws = [run["after"]["law"] for run in runs]
    untrained = [run["before"]["law"]["total_reduction"] for run in runs]
    yield from (
        "",
        "**Does the law hold for next characters?** Prediction residual of a character-level "
        f"transformer of {runs[0]['depth']} layers on held-out text, {len(runs)} seeds: "
        f"r {_each(laws, 'r')}, uniformity {_each(laws, 'uniformity')}, rho {_each(laws, 'rho')}, "
        f"total reduction {_each(laws, 'total_reduction')} nats, and "
        f"{', '.join(f'{value:.3f}' for value in untrained)} before training "
        "(`python -m benchmarks.bench_residual`).",
    )


def _each(laws: list[dict[str, Any]], figure: str) -> str:
    return ", ".join(f"{law[figure]:.3f}" for law in laws)


if __name__ == "__main__":
    main()
