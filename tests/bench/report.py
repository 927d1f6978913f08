"""The results as one table of text, with ratios and aims, and as JSON."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.cases import Compared, Sample

AIMS: Final = {
    "put-256": ("rate", 5.0),
    "put-64": ("rate", 4.0),
    "put-1": ("p50", 2.0),
    "get-64": ("rate", 5.0),
    "put-1mb": ("rate", 3.0),
}
"""How many times better than etcd each case should be."""


_NOISE_MOST: Final = 0.5
"""Of a figure: with more two runs are not said to agree."""


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
    }


def _median(samples: Sequence[Sample], key: str) -> float:
    return statistics.median(float(sample.load[key]) for sample in samples)


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Medians over the runs of one case; of the rate also the lowest and the highest."""
    rates = [sample.load["rate"] for sample in samples]
    middle = statistics.median(rates)
    return {
        "rate": round(middle, 1),
        "p50_ms": round(_median(samples, "p50_ms"), 3),
        "p99_ms": round(_median(samples, "p99_ms"), 3),
        "generator_cpu": round(_median(samples, "cpu_share"), 2),
        "generator": samples[0].load["generator"],
        "cpu": [
            statistics.median(column) for column in zip(*(s.cpu for s in samples), strict=True)
        ],
        "rss_mb": samples[-1].rss,
        "others_cpu": statistics.median(sample.others for sample in samples),
        "rates": [round(min(rates), 1), round(max(rates), 1)],
    }


def compared(found: Sequence[Compared]) -> dict[str, Any]:
    """Return the cases as JSON-able values, with ratios above 1 where ours is better."""
    out: dict[str, Any] = {}
    for one in found:
        row: dict[str, Any] = {"raftd": summary(one.ours)}
        if one.etcd:
            ours, etcd = row["raftd"], summary(one.etcd)
            row["etcd"] = etcd
            row["ratio"] = {
                "rate": round(ours["rate"] / etcd["rate"], 2),
                "p50": round(etcd["p50_ms"] / ours["p50_ms"], 2),
                "p99": round(etcd["p99_ms"] / ours["p99_ms"], 2),
                "rates": _extremes(
                    [
                        a.load["rate"] / b.load["rate"]
                        for a, b in zip(one.ours, one.etcd, strict=True)
                    ]
                ),
            }
        out[one.case.name] = row
    return out


def _extremes(values: Sequence[float]) -> list[float]:
    return [round(min(values), 2), round(max(values), 2)]


def against(results: dict[str, Any], earlier: dict[str, Any]) -> str:
    """Compare the loads of two runs; say which figures agree within their noise.

    A figure is the ratio to etcd's rate where both runs have it, as the machine's mood falls out of
    it, else the rate. Two runs agree where the ranges over their rounds, each widened by half of
    itself at both ends, overlap. The range of three rounds is less than the scatter: those of two
    equal runs miss each other in one case of ten, so some figure of six would in every second
    comparison; widened so, in one of twelve. A change of four times the scatter of a round is told
    in two of three cases (a computation with normally distributed rounds).

    The noise is how far medians may be apart without their ranges missing each other, widened so.
    Where that is more than half of the figure, agreement would say nothing: it is too noisy.
    """
    rows = [["case", "figure", "then", "range", "now", "range", "change", "noise", "agree"]]
    for name, row in results.get("load", {}).items():
        former = earlier.get("load", {}).get(name)
        if former is None:
            continue
        ratio = "ratio" in row and "ratio" in former
        figures = [one["ratio"] if ratio else one["raftd"] for one in (former, row)]
        (low, high), (least, most) = (figure["rates"] for figure in figures)
        then, now = (figure["rate"] for figure in figures)
        places = 2 if ratio else 0
        noise = (high - low + most - least) / then
        rows.append(
            [
                name, "x etcd" if ratio else "rate",
                f"{then:,.{places}f}", f"{low:,.{places}f} to {high:,.{places}f}",
                f"{now:,.{places}f}", f"{least:,.{places}f} to {most:,.{places}f}",
                f"{(now / then - 1) * 100:+.0f} %", f"{noise * 100:.0f} %",
                _agreement(low, high, least, most, noise),
            ]
        )  # fmt: skip
    if len(rows) == 1:
        return "no load was measured in both runs"
    return f"against the run of {earlier['machine']['date']}\n{table(rows)}"


def _agreement(low: float, high: float, least: float, most: float, noise: float) -> str:
    """Say whether two ranges overlap when each is widened by half of itself at both ends."""
    one, other = (high - low) / 2, (most - least) / 2
    if low - one > most + other or least - other > high + one:
        return "NO"
    return "yes" if noise <= _NOISE_MOST else "too noisy"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text in columns; the first is the heading, the first column is to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def text(results: dict[str, Any]) -> str:
    """Return all results as text."""
    about = results["machine"]
    parts = [
        f"{about['date']}  {about['cores']} cores ({about['cpu']}), Linux {about['kernel']}, "
        f"Python {about['python']}, load {about['load_average']} at the start"
    ]
    if "load" in results:
        parts.append(_load_table(results["load"]))
    facts = [["", "raftd", "etcd", "ratio", "aim"]]
    if "memory_mb" in results:
        facts += _memory_row(results["memory_mb"])
    if "status" in results:
        status = results["status"]
        facts.append(_fact("status command, ms", status["raftctl_ms"], status.get("etcdctl_ms")))
    if "core" in results:
        facts += _core_rows(results["core"])
    if "failover" in results:
        found = results["failover"]
        facts.append(
            [
                f"failover, election timeouts (median of {found['count']}, worst {found['max']})",
                str(found["median"]), "", "", _aim(found["median"] < 1.5, "< 1.5"),
            ]
        )  # fmt: skip
    if len(facts) > 1:
        parts.append(table(facts))
    for name in ("overload", "snapshot", "start_up"):
        if name in results:
            parts.append("\n".join([name.replace("_", "-"), *_lines(results[name])]))
    return "\n\n".join(parts)


# ---- for the README ----------------------------------------------------------------------------

_NAMES: Final = {
    "put-1": "put, 1 client",
    "put-64": "put, 64 clients",
    "put-256": "put, 256 clients",
    "get-1": "linearizable get, 1 client",
    "get-64": "linearizable get, 64 clients",
    "put-1mb": "put of 1 MB, 8 clients",
}


def markdown(results: dict[str, Any], command: str) -> str:
    """Return the results as the tables of the README, dated, with the command that made them."""
    about = results["machine"]
    parts = [
        f"`{command}`, {about['date'][:10]}: {about['cores']} cores ({about['cpu']}), Linux "
        f"{about['kernel']}, Python {about['python']}; three nodes and the load on this one "
        "machine, fsync on; medians, of the ratio of the rates also the range."
    ]
    if "load" in results:
        parts.append(_markdown_table(_markdown_loads(results["load"])))
    rows = [["", "raftd", "etcd", "ratio"], *_markdown_facts(results)]
    if len(rows) > 1:
        parts.append(_markdown_table(rows))
    return "\n\n".join(parts)


def _markdown_loads(found: dict[str, Any]) -> list[list[str]]:
    rows = [
        ["", "raftd/s", "p50, p99 ms", "CPU a node, load", "etcd/s", "p50, p99 ms",
         "CPU a node, load", "rate", "p50", "p99"],
    ]  # fmt: skip
    for name, row in found.items():
        cells = [_NAMES.get(name, name)]
        for system in ("raftd", "etcd"):
            one = row.get(system)
            if one is None:
                cells += ["", "", ""]
                continue
            cpu = statistics.mean(one["cpu"])
            cells += [
                f"{one['rate']:,.0f}", f"{one['p50_ms']:.2f}, {one['p99_ms']:.1f}",
                f"{cpu:.2f}, {one['generator_cpu']:.2f}",
            ]  # fmt: skip
        ratio = row.get("ratio")
        keys = ("rate", "p50", "p99")
        if ratio is None:
            cells += ["", "", ""]
        else:
            cells += [f"{ratio[key]:.1f} x" for key in keys]
            cells[-3] += f" ({' to '.join(f'{rate:.1f}' for rate in ratio['rates'])})"
        rows.append(cells)
    return rows


def _markdown_facts(results: dict[str, Any]) -> list[list[str]]:
    rows: list[list[str]] = []
    if "memory_mb" in results:
        rows += _memory_row(results["memory_mb"])
    if "status" in results:
        status = results["status"]
        rows.append(_fact("status command, ms", status["raftctl_ms"], status.get("etcdctl_ms")))
    if "core" in results:
        rows += _core_rows(results["core"])
    if "failover" in results:
        found = results["failover"]
        rows.append(
            _fact(f"failover, election timeouts, median of {found['count']}", found["median"], None)
        )
    if "overload" in results:
        found = results["overload"]
        for name, *three in (
            ("puts/s", found["rate_before"], found["rate_during"], found["rate_after"]),
            ("p50 ms", found["p50_before_ms"], found["p50_during_ms"], found["p50_after_ms"]),
            ("p99 ms", found["p99_before_ms"], found["p99_during_ms"], found["p99_after_ms"]),
        ):
            told = " / ".join(f"{value:,g}" for value in three)
            rows.append([f"before / at twice the rate / after: {name}", told, "", ""])
        for name, of in (("before", "of_spared_before"), ("after", "of_spared_after")):
            low, middle, high = found[of]
            rows.append(
                [f"rate {name} it, of that of a group without overload",
                 f"{middle:g} ({low:g} to {high:g})", "", ""]
            )  # fmt: skip
        rows.append(
            ["MB a node before / in each quarter of it",
             " / ".join(map(str, [max(found["rss_before_mb"]), *found["rss_quarters_mb"]])), "", ""]
        )  # fmt: skip
        rows.append(
            ["elections at twice the rate", "some" if found["elections"] else "none", "", ""]
        )
    if "snapshot" in results:
        found = results["snapshot"]
        rows.append(
            [f"snapshot of {found['bytes'] / 1e9:.1f} GB, MB/s", f"{found['mb_per_s']:g}", "", ""]
        )
        rows.append(
            ["put p99 before / during it, ms",
             f"{found['p99_calm_ms']:g} / {found['p99_meanwhile_ms']:g}", "", ""]
        )  # fmt: skip
    if "start_up" in results:
        found = results["start_up"]
        rows.append(
            [f"start with {found['entries']:,} entries: answers / has applied all, s",
             f"{found['answers_s']:g} / {found['caught_up_s']:g}", "", ""]
        )  # fmt: skip
    return [row[:4] for row in rows]


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rest))


def _lines(values: dict[str, Any]) -> list[str]:
    width = max(map(len, values))
    return [f"  {name.ljust(width)}  {value}" for name, value in values.items()]


def _aim(met: bool, what: str) -> str:
    return f"{what} {'met' if met else 'NOT MET'}"


def _load_table(cases: dict[str, Any]) -> str:
    rows = [
        ["case", "raftd/s", "range", "p50 ms", "p99 ms", "cpu a node", "gen", "else", "etcd/s",
         "range", "p50 ms", "p99 ms", "cpu a node", "gen", "else", "rate x", "range", "p50 x",
         "p99 x", "aim"],
    ]  # fmt: skip
    for name, row in cases.items():
        cells = [name]
        for system in ("raftd", "etcd"):
            one = row.get(system)
            if one is None:
                cells += [""] * 7
                continue
            cells += [
                f"{one['rate']:,.0f}", "-".join(f"{rate:,.0f}" for rate in one["rates"]),
                f"{one['p50_ms']:.2f}", f"{one['p99_ms']:.2f}",
                "/".join(f"{cpu:.2f}" for cpu in one["cpu"]), f"{one['generator_cpu']:.2f}",
                f"{one['others_cpu']:.2f}",
            ]  # fmt: skip
        ratio = row.get("ratio")
        if ratio is None:
            cells += [""] * 5
        else:
            cells += [
                f"{ratio['rate']:.2f}", "-".join(f"{rate:.2f}" for rate in ratio["rates"]),
                f"{ratio['p50']:.2f}", f"{ratio['p99']:.2f}",
            ]  # fmt: skip
            aims = []
            if name in AIMS:
                key, least = AIMS[name]
                aims.append(_aim(ratio[key] >= least, f"{key} {least:g}x"))
            if name == "put-256":
                aims.append(_aim(ratio["p99"] > 1, "p99 1x"))
            cells.append(", ".join(aims))
        rows.append(cells)
    note = (
        "medians, and the range over the rounds; in cores: cpu a node, gen the load generator, "
        "else whoever shares the machine"
    )
    if any(row["raftd"]["generator"] == "python" for row in cases.values()):
        note += "\nThe load generator was the Python one: its own speed limits these figures."
    return table(rows) + "\n" + note


def _fact(name: str, ours: float, etcd: float | None, aim: float | None = None) -> list[str]:
    if etcd is None:
        return [name, f"{ours:g}", "", "", ""]
    ratio = etcd / ours
    return [
        name, f"{ours:g}", f"{etcd:g}", f"{ratio:.2f}",
        "" if aim is None else _aim(ratio >= aim, f"{aim:g}x"),
    ]  # fmt: skip


def _memory_row(memory: dict[str, list[float]]) -> list[list[str]]:
    ours = statistics.mean(memory["raftd"])
    etcd = statistics.mean(memory["etcd"]) if "etcd" in memory else None
    return [
        _fact(
            "memory a node after the small values, MB",
            round(ours), None if etcd is None else round(etcd), 2.0,
        )
    ]  # fmt: skip


def _core_rows(core: dict[str, Any]) -> list[list[str]]:
    modes, etcd = core["modes"], core.get("etcd", {})
    single = etcd.get("singly_us")
    rows = [
        _fact("core, us a proposal: batches of 64", modes["batch_us"], single, 0.5),
        _fact("core, us a proposal: 64 one by one", modes["singly_us"], single, 0.5),
        _fact("core, us a proposal: each alone", modes["lone_us"], etcd.get("lone_us")),
    ]
    rows += [
        [f"core, us at {members} members", f"{us:g}", "", "", ""]
        for members, us in core["members"].items()
    ]
    rows += [
        [f"core, us at a log of {int(length):,}", f"{us:g}", "", "", ""]
        for length, us in core["length"].items()
    ]
    rows += [
        [
            f"core, us to append to / drain a backlog of {int(size):,}",
            f"{us['append_us']:g} / {us['drain_us']:g}", "", "", "",
        ]
        for size, us in core["backlog"].items()
    ]  # fmt: skip
    return rows
