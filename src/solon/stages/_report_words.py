"""How numbers and texts of a report are said: with units, intervals, and word-level differences."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

NARROW = "\u202f"  # a narrow space at which no line breaks
DIFF_WORDS = 4_000  # beyond it the difference is not drawn: the search is quadratic in the worst case

# name: (title, what it is)
FIGURES: dict[str, tuple[str, str]] = {
    "harmful_compliance": ("Harmful compliance", "harmful requests that got help"),
    "harmful_compliance_corrected": ("Harmful compliance, corrected", "the same, were the grading rules never wrong"),
    "harm": ("Harm", "how harmful replies to harmful requests are, by the safety classifier"),
    "over_refusal": ("Over-refusal", "harmless requests that were refused"),
    "alternative_offered": ("Alternative offered", "harmful requests refused with an offer of something else"),
    "reference_loss": ("Reference loss", "loss on held-out reference answers"),
    "bleu": ("BLEU", "word overlap with reference answers"),
    "rouge_l": ("ROUGE-L", "longest common word sequence with reference answers"),
    "chrf": ("chrF", "character overlap with reference answers"),
    "helpfulness": ("Helpfulness", "how helpful replies look, by fitted features"),
    "win_rate": ("Win rate", "comparisons won, ties as half"),
    "win_rate_equal_length": ("Win rate at equal length", "what would be won if both replies were equally long"),
    "multiple_choice": ("Multiple choice", "questions answered correctly"),
    "perplexity": ("Perplexity", "on held-out text"),
    "consistency": ("Consistency", "paraphrases answered alike"),
}
MODELS: dict[str, str] = {"base": "Base", "helpful": "Helpful", "sl": "Revised", "aligned": "Aligned"}
LABELS: dict[str, tuple[str, str]] = {
    "comply": ("answers", "comply"),
    "partial": ("answers in part", "partial"),
    "bare_refusal": ("refuses", "bare"),
    "explained_refusal": ("refuses, says why", "explained"),
    "refusal_with_alternative": ("refuses, offers another way", "alternative"),
    "empty": ("no answer", "empty"),
}


def number(x: Any) -> float | None:
    """A finite number, or None for everything else that a report may hold in its place."""
    if isinstance(x, bool) or not isinstance(x, (int, float)) or not math.isfinite(x):
        return None
    return float(x)


def mapping(x: Any) -> Mapping[str, Any]:
    """The mapping that a report holds here, or an empty one."""
    return x if isinstance(x, Mapping) else {}


def rows(x: Any) -> list[Mapping[str, Any]]:
    """The mappings of a list that a report holds here."""
    return [row for row in x if isinstance(row, Mapping)] if isinstance(x, Sequence) and not isinstance(x, str) else []


def title(name: str) -> str:
    """A figure's name in words."""
    return FIGURES[name][0] if name in FIGURES else words(name)


def words(name: Any) -> str:
    """`rows_kept` as `Rows kept`."""
    text = str(name).replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def model(name: Any) -> str:
    """A model's name in words."""
    return MODELS.get(str(name), words(name))


def value(x: Any, unit: str = "") -> str:
    """A number with its unit; a share in per cent; a dash where there is none."""
    found = number(x)
    if found is None:
        return "—" if x is None or isinstance(x, float) else str(x)
    if unit == "share":
        return f"{_percent(100 * found)}{NARROW}%"
    text = _short(found)
    return f"{text}{NARROW}{unit}" if unit == "nats" else text


def interval(ci: Any, unit: str = "") -> str:
    """`8.1 to 17.9`, or nothing."""
    ends = bounds(ci)
    if ends is None:
        return ""
    if unit == "share":
        return f"{_percent(100 * ends[0])} to {_percent(100 * ends[1])}"
    return f"{_short(ends[0])} to {_short(ends[1])}"


def bounds(ci: Any) -> tuple[float, float] | None:
    """The two ends of an interval, if it has two."""
    if isinstance(ci, Sequence) and not isinstance(ci, str) and len(ci) == 2:
        low, high = number(ci[0]), number(ci[1])
        if low is not None and high is not None:
            return low, high
    return None


def measured(x: Any) -> str:
    """Whatever a condition or a judge reports: text, a number, or a figure with interval and n."""
    if isinstance(x, Mapping):
        if "value" not in x:
            return ", ".join(f"{words(key).lower()} {measured(inner)}" for key, inner in x.items())
        unit = str(x.get("unit") or "")
        said, ends = value(x.get("value"), unit), interval(x.get("ci"), unit)
        notes = [f"95 % CI {ends}"] if ends else []
        notes += [items(x["n"])] if x.get("n") is not None else []
        return f"{said} ({', '.join(notes)})" if notes else said
    if isinstance(x, Sequence) and not isinstance(x, str):
        return ", ".join(measured(inner) for inner in x)
    if isinstance(x, bool):
        return "yes" if x else "no"
    return value(x)


def p_value(x: Any) -> str:
    """A p-value; never a bare zero."""
    found = number(x)
    if found is None:
        return "—"
    return "< 0.0001" if found < 1e-4 else f"{found:.2g}" if found < 0.1 else f"{found:.2f}"


def count(x: Any) -> str:
    """A whole number with narrow spaces between thousands."""
    found = number(x)
    return "—" if found is None else f"{found:,.0f}".replace(",", NARROW)


def items(n: Any) -> str:
    """`n = 200`, kept on one line."""
    return f"n\u00a0=\u00a0{count(n)}"


def compact(x: Any) -> str:
    """`1.4 M`: for tokens, where the last digits say nothing."""
    found = number(x)
    if found is None:
        return "—"
    for size, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(found) >= size:
            return f"{found / (1e3 if name == 'k' else size):.3g} {name}"
    return count(found)


def memory(x: Any) -> str:
    """Bytes in binary units."""
    found = number(x)
    if found is None:
        return "—"
    for size, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if found >= size:
            return f"{found / size:.3g} {name}"
    return f"{found:.0f} B"


def duration(x: Any) -> str:
    """Seconds as `1 h 04 min`, `3 min 20 s` or `4.2 s`."""
    found = number(x)
    if found is None:
        return "—"
    if found < 59.95:
        return f"{found:.2g} s" if found < 10 else f"{found:.0f} s"
    whole = round(found)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def difference(before: str, after: str) -> tuple[Markup, Markup]:
    """Both texts, escaped, with what was taken out and what was put in marked word by word."""
    old, new = _pieces(before), _pieces(after)
    if len(old) + len(new) > DIFF_WORDS:
        return escape(before), escape(after)
    left, right = [], []
    for same, gone, come in _runs(old, new):
        left.append(escape(gone) if same or not gone else Markup("<del>{}</del>").format(gone))
        right.append(escape(come) if same or not come else Markup("<ins>{}</ins>").format(come))
    return Markup("").join(left), Markup("").join(right)


def _runs(old: list[str], new: list[str]) -> list[tuple[bool, str, str]]:
    """Equal and changed runs in turn; a lone equal word between two changes counts as changed."""
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    runs: list[tuple[bool, str, str]] = []
    for i, (kind, a, b, c, d) in enumerate(codes):
        same = kind == "equal" and (b - a > 1 or i in (0, len(codes) - 1))
        gone, come = "".join(old[a:b]), "".join(new[c:d])
        if runs and runs[-1][0] == same:
            gone, come = runs[-1][1] + gone, runs[-1][2] + come
            runs.pop()
        runs.append((same, gone, come))
    return runs


def _pieces(text: str) -> list[str]:
    """Words with the space after them, so that a changed phrase is one mark and not one a word."""
    return re.findall(r"\w+(?:['’]\w+)?\s*|[^\w\s]+\s*|\s+", text)


def _percent(x: float) -> str:
    """One decimal, which is all that a few hundred items can carry; more only where nothing else would be left."""
    text = f"{x:.1f}" if abs(x) >= 0.05 or x == 0 else f"{x:.1g}"
    return text.removesuffix(".0").replace("-", "−")


def _short(x: float) -> str:
    size = abs(x)
    text = f"{x:.0f}" if size >= 100 else f"{x:.1f}" if size >= 10 or size == 0 else f"{x:.2f}"
    text = text if float(text) or not x else f"{x:.1g}"
    if "." in text and "e" not in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")
