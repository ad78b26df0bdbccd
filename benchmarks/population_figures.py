"""What `population.py` concludes from its curves: a table, a picture, and the figures that are stored."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

Json = dict[str, Any]
Curves = Mapping[str, Json]

MEMORISES = 0.10  # excess of the teacher from which it clearly gives people away
COLOURS = {"teacher": "tab:red", "kept": "tab:olive", "filtered": "tab:blue", "random_drop": "tab:gray"}


def conclude(curves: Curves) -> Json:
    """What is stored; None where no teacher reached MEMORISES, or no student was trained there."""
    disjoint: dict[str, bool | None] = {}
    early: Json = {}
    highs, gaps = [], []
    for name, one in curves.items():
        row = leaking(one)
        filtered = longest(row["arms"], "filtered") if row else None
        dropped = longest(row["arms"], "random_drop") if row else None
        disjoint[name] = None
        if row and filtered and dropped:
            disjoint[name] = filtered["excess"]["high"] < dropped["excess"]["low"]
            highs.append(filtered["excess"]["high"])
            if filtered["utility"] and row["arms"]["teacher"]["utility"]:
                gaps.append(row["arms"]["teacher"]["utility"]["value"] - filtered["utility"]["value"])
        stopped = next(found for found in one["rows"] if found["teacher_steps"] == one["stopped_at"])
        last = next((found for found in reversed(one["rows"]) if longest(found["arms"], "filtered")), None)
        early[name] = {
            "early": {"steps": one["stopped_at"], **brief(stopped["arms"]["teacher"])},
            "filtered": last and {"teacher_steps": last["teacher_steps"], **brief(longest(last["arms"], "filtered") or {})},
        }
    return {
        "curves": dict(curves),
        "disjoint": disjoint,
        "filtered_high": max(highs, default=None),
        "utility_gap": max(gaps, default=None),
        "early_vs_filtered": early,
    }


def leaking(one: Json) -> Json | None:
    """The first row whose teacher gives people away, and that has students."""
    for row in one["rows"]:
        if row["arms"]["teacher"]["excess"]["value"] >= MEMORISES and longest(row["arms"], "filtered"):
            found: Json = row
            return found
    return None


def longest(arms: Json, arm: str) -> Json | None:
    """The student of that kind that was trained for longest."""
    steps = [int(name.split()[1]) for name in arms if name.startswith(f"{arm} ")]
    found: Json | None = arms[f"{arm} {max(steps)}"] if steps else None
    return found


def brief(figures: Json) -> Json:
    ratios = figures.get("likelihood_ratio") or {}
    most = max(ratios, key=lambda name: tuple(map(float, name.split(" of "))), default="")
    return {"excess": figures.get("excess"), "utility": figures.get("utility"), "likelihood_ratio": ratios.get(most)}


def table(curves: Curves) -> Table:
    """An arm at a step a row."""
    shown = Table(title="leak against usefulness; excess by the worst attacker that had no vote")
    for heading in ("members/seed", "teacher's steps", "arm", "excess", "copies", "likelihood ratio", "utility", "covered"):
        shown.add_column(heading)
    for name, one in curves.items():
        for row in one["rows"]:
            early = " (early stop)" if row["teacher_steps"] == one["stopped_at"] else ""
            for arm, figures in row["arms"].items():
                ratio = brief(figures)["likelihood_ratio"]
                cells = [figures["excess"], figures["copies"], ratio, figures["utility"], figures["covered"]]
                label = arm + early if arm == "teacher" else arm
                shown.add_row(name, str(row["teacher_steps"]), label, *map(words, cells))
    return shown


def words(figure: Json | None) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})" if figure else "-"


def lines(one: Json) -> Iterator[tuple[str, list[Json]]]:
    """Arm -> its points: the teacher's over its steps; of the last teacher with students, each kind's over theirs."""
    yield "teacher", [row["arms"]["teacher"] for row in one["rows"]]
    last = next((row for row in reversed(one["rows"]) if longest(row["arms"], "filtered")), None)
    if last:
        yield "kept", [last["arms"]["kept"]]
        for arm in ("filtered", "random_drop"):
            own = sorted((int(name.split()[1]), name) for name in last["arms"] if name.startswith(f"{arm} "))
            yield arm, [last["arms"][name] for _, name in own]


def draw(curves: Curves, path: Path) -> None:
    """Leak against usefulness, or coverage where there is no label: an arm a line, a number of members a panel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * max(len(curves), 1), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (name, one) in zip(panels, curves.items(), strict=True):
        measure = "utility" if all(row["arms"]["teacher"]["utility"] for row in one["rows"]) else "covered"
        for arm, points in lines(one):
            known = [point for point in points if point[measure] and point["excess"]]
            x, y = ([point[key]["value"] for point in known] for key in (measure, "excess"))
            reach = [[abs(point["excess"][end] - point["excess"]["value"]) for point in known] for end in ("low", "high")]
            axes.errorbar(x, y, yerr=reach, marker="o", capsize=2, color=COLOURS[arm], label=arm.replace("_", " "))
        stopped = next(row["arms"]["teacher"] for row in one["rows"] if row["teacher_steps"] == one["stopped_at"])
        if stopped[measure]:
            axes.scatter(
                stopped[measure]["value"], stopped["excess"]["value"], marker="*", s=160, color="tab:orange", zorder=3,
                label=f"early stop, step {one['stopped_at']:,}",
            )  # fmt: skip
        axes.axhline(0, color="black", linewidth=0.5)
        axes.set_title(f"{name.split('/')[0]} members, seed {name.split('/')[1]}")
        axes.set_xlabel("usefulness: AUC on other people" if measure == "utility" else "members' pictures covered")
        axes.set_ylabel("leak: excess re-identification")
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})
